mod once;
mod options;
mod profiles;
mod vectors;
mod ways;
