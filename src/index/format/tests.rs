use super::*;

fn raw(text: &str) -> Box<RawValue> {
    super::raw(text).unwrap()
}

fn parse(text: &[u8]) -> Result<ShardText, Unusable> {
    ShardText::parse(text.to_vec())
}

fn sample() -> ShardText {
    let mut shard = ShardText { generation: 7, ..ShardText::default() };
    shard.entries.insert("a \"quoted\" id", raw(r#"{"path":"x","later":{"deep":[1, 2]}}"#));
    shard.entries.insert("b", raw("{}"));
    shard.extra.insert("later".into(), raw("[true]"));
    shard
}

#[test]
fn what_is_written_is_read_again_to_the_letter() {
    for shard in [sample(), in_lines(), ShardText::default()] {
        let text = shard.render();
        assert_eq!(parse(&text).unwrap().render(), text);
    }
    insta::assert_snapshot!(String::from_utf8([sample().render(), in_lines().render()].concat()).unwrap());
}

/// A shard that says of itself that each entry is a line.
fn in_lines() -> ShardText {
    let mut shard = sample();
    shard.entries.remove("a \"quoted\" id");
    parse(&shard.render()).unwrap()
}

#[test]
fn every_truncation_and_every_flipped_bit_is_noticed() {
    every_damage_is_noticed(&sample().render());
    every_damage_is_noticed(&in_lines().render());
}

fn every_damage_is_noticed(text: &[u8]) {
    for length in 0..text.len() - 1 {
        // without its last byte, the newline, it is still complete
        assert!(parse(&text[..length]).is_err(), "cut to {length}");
    }
    for at in 0..text.len() - 1 {
        for bit in 0..8 {
            let mut flipped = text.to_vec();
            flipped[at] ^= 1 << bit;
            if let Ok(shard) = parse(&flipped) {
                // The checksum does not cover the generation, the log, members of later versions and white space.
                assert_eq!(
                    shard.render().split(|b| *b == b'\n').skip(1).collect::<Vec<_>>(),
                    text.split(|b| *b == b'\n').skip(1).collect::<Vec<_>>(),
                    "byte {at} bit {bit}"
                );
            }
        }
    }
}

fn around(entries: &str) -> [String; 2] {
    let checksum = checksum_of(entries);
    let last = format!(r#"{{"format":1,"generation":1,"checksum":"{checksum}","entries":{entries}}}"#);
    let first = format!(r#"{{"entries":{entries}, "generation":1,"checksum":"{checksum}","format":1}}"#);
    [last, first]
}

// Red when what this version writes has to be read as a whole, which takes several times as long.
#[test]
fn the_entries_are_found_by_their_lines() {
    let text = String::from_utf8(in_lines().render()).unwrap();
    assert!(Head::of(&text).is_some_and(|head| Members::after(head, &text).is_some()));
    let lines: Option<Vec<_>> = Lines::of(Members::parse(&text).unwrap().entries).unwrap().each().collect();
    assert_eq!(lines.unwrap(), [("b", "{}")]);
}

// Red when the other lines are parsed to change an entry, and when they are not although nobody, or somebody who has
// written other entries, says what they are.
#[test]
fn the_others_are_parsed_unless_these_entries_are_said_to_be_lines() {
    let entries = "{\n\"a\":no JSON,\n\"b\":{},\n\"c\":{}\n}";
    let [text, _] = around(entries);
    let (checksum, stale) = (checksum_of(entries), checksum_of("{}"));
    let with = |lines: &str| text.replace("\"entries\"", &format!("\"lines\":\"{lines}\",\"entries\""));
    for unsaid in [text.clone(), with(&stale), with("")] {
        parse(unsaid.as_bytes()).unwrap_err();
    }
    let said = with(&checksum);
    assert_eq!(Members::parse(&said).unwrap().entry("b", &super::raw).unwrap().unwrap().get(), "{}");
    let mut shard = parse(said.as_bytes()).unwrap();
    shard.entries.remove("b");
    assert!(String::from_utf8(shard.render()).unwrap().ends_with("\"entries\":{\n\"a\":no JSON,\n\"c\":{}\n}}\n"));
    // But whoever reads all of them sees it.
    assert!(Members::parse(&said).unwrap().entries(&mut |_, text| super::raw(text)).is_err());
    let entries = "{\n\"b\":{},\n\"a\":{}\n}";
    let unsorted =
        around(entries)[0].replace("\"entries\"", &format!("\"lines\":\"{}\",\"entries\"", checksum_of(entries)));
    let read_all = |text: &str| Members::parse(text).unwrap().entries(&mut |_, text| super::raw(text)).map(drop);
    assert!(matches!(read_all(&unsorted), Err(Unusable::Damaged(reason)) if reason.contains("lines")));
    read_all(std::str::from_utf8(&ShardText::default().render()).unwrap()).unwrap();
}

// Red when entries are said to be lines though one of them is not: it would not be found again, and be lost.
#[test]
fn entries_are_said_to_be_lines_only_if_all_are() {
    let says = |shard: &ShardText| Members::parse(std::str::from_utf8(&shard.render()).unwrap()).unwrap().are_lines;
    assert!(says(&in_lines()) && says(&ShardText::default()));
    for (id, record) in
        [("a \"quoted\" id", "{}"), ("a\\b", "{}"), ("a\u{7f}", "{}"), ("a", "{\n\"b\":{}}"), ("c", "[1,\n2]")]
    {
        let mut shard = in_lines();
        shard.entries.insert(id, raw(record));
        assert!(!says(&shard), "{id}");
        let mut again = parse(&shard.render()).unwrap();
        assert_eq!(again.entries.get(id).unwrap().get(), record);
        assert!(!says(&again), "{id}");
        again.entries.remove(id);
        assert!(says(&parse(&again.render()).unwrap()));
    }
}

// Red when a line is taken for an entry that is none, also if only one is looked for, or a text for entries that is
// no JSON.
#[test]
fn in_another_layout_the_entries_are_the_same() {
    for entries in [
        "{}",
        "{ }",
        r#"{"b":{"x":1},"a":{}}"#,
        "{\n\"b\":{},\n\"a\":{}\n}",
        "{\n\"a\":{\n\"b\":{}},\n\"c\":{}\n}",
        "{\n\"a\":{\"b\":{},\n\"c\":{}},\n\"d\":{}\n}",
        "{\n\"\\u0061\":{}\n}",
    ] {
        let expected: BTreeMap<String, Box<RawValue>> = serde_json::from_str(entries).unwrap();
        for text in around(entries) {
            let shard = parse(text.as_bytes()).unwrap();
            let texts = |(id, text): (&str, &RawValue)| (id.to_owned(), text.get().to_owned());
            let found: Vec<_> = shard.entries.all().into_iter().map(texts).collect();
            let expected_texts = expected.iter().map(|(id, text)| texts((id, text)));
            assert_eq!(found, expected_texts.collect::<Vec<_>>(), "{text}");
            for (id, entry) in &expected {
                let found = Members::parse(&text).unwrap().entry(id, &super::raw).unwrap();
                assert_eq!(found.unwrap().get(), entry.get(), "{text}");
            }
            assert!(Members::parse(&text).unwrap().entry("none", &super::raw).unwrap().is_none());
        }
    }
    for entries in [
        "{\n\"a\":{},\n}",
        "{\n\"a\":{}\n\"b\":{}\n}",
        "{\n\"a\":{},\n\"a\":{}\n}",
        "{\n\"a\":{}},\n\"b\":{\n}",
        "{\n\"a\" :{}\n\n}x",
    ] {
        for text in around(entries) {
            parse(text.as_bytes()).unwrap_err();
        }
    }
}

#[test]
fn damage_is_named_and_a_newer_format_is_told_apart() {
    let damage = |text: &str| match parse(text.as_bytes()) {
        Err(Unusable::Damaged(reason)) => reason,
        other => panic!("{text:?} gave {other:?}"),
    };
    assert!(damage("").contains("EOF"));
    assert!(damage("null").contains("an object"));
    assert!(damage(r#"{"format":1,"format":1}"#).contains("twice"));
    assert!(damage(r#"{"format":"1"}"#).contains("cannot be read"));
    assert!(damage(&"[".repeat(1 << 20)).contains("not a shard"));
    assert!(damage(&format!(r#"{{"format":1,"deep":{}"#, "[".repeat(1 << 20))).contains("not a shard"));
    let text = String::from_utf8(sample().render()).unwrap();
    assert!(damage(&text.replace("\"b\":{}", "\"b\":[]")).contains("checksum"));
    assert!(damage(&(text.clone() + "x")).contains("trailing"));
    assert_eq!(parse(b"{\"format\":2}").unwrap_err(), Unusable::Newer(2));
    // The same id twice, with a correct checksum.
    let entries = r#"{"a":{},"a":{}}"#;
    let twice = format!(r#"{{"format":1,"generation":1,"checksum":"{}","entries":{entries}}}"#, checksum_of(entries));
    assert!(damage(&twice).contains("twice"));
}
