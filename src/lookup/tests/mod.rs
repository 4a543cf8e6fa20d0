mod profiles;
mod vectors;
