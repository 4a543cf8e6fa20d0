//! Any bytes as a message, and as a name: read, shown, and read again.
#![no_main]

use dnswhy::dns::{Name, NameCache, begins_message, describe, is_whole_message, parse};
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
    let mut names = NameCache::new();
    let whole = parse(data, data.len(), &mut names);
    // Cut by a snap length, it has the same header; a byte more on the wire changes no more.
    let cut = parse(data, data.len() + 1, &mut names);
    assert_eq!(whole.as_ref().map(|m| m.header), cut.as_ref().map(|m| m.header));
    if let Some(message) = whole {
        let _ = (message.is_plausible(), message.rcode(), message.answer_kind());
    }
    let _ = (is_whole_message(data), begins_message(data, data.len()), describe(data));
});
