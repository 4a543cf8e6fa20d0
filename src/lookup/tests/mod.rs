mod profiles;
mod vectors;
mod ways;
