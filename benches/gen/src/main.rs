//! `dnscapgen`: see the library's documentation.

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.is_empty() || args.iter().any(|arg| arg == "-h" || arg == "--help") {
        print!("{}", dnscapgen::HELP);
        return;
    }
    match dnscapgen::generate(&args) {
        Ok(truth) => println!("{truth}"),
        Err(error) => {
            eprintln!("dnscapgen: {error}");
            std::process::exit(2);
        }
    }
}
