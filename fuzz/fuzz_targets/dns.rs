//! Names of any bytes: read, shown, and read again.
#![no_main]

use dnswhy::dns::Name;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some(name) = Name::from_wire(data) {
        let shown = Name::parse(&name.to_string()).expect("a name reads what it shows");
        assert!(shown.same_case(&name));
        assert_eq!(name.wire(), data);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Name::parse(text);
    }
});
