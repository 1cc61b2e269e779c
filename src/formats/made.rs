//! Files that tests make.

/// A GGUF file that is written field by field.
pub(super) struct Gguf {
    pub(super) bytes: Vec<u8>,
    version: u32,
    is_big_endian: bool,
}

impl Gguf {
    pub(super) fn new(version: u32, is_big_endian: bool, tensors: u64, values: u64) -> Self {
        let mut writer = Gguf { bytes: b"GGUF".to_vec(), version, is_big_endian };
        writer.number(version.into(), 4);
        writer.length(tensors);
        writer.length(values);
        writer
    }

    pub(super) fn number(&mut self, number: u64, size: usize) {
        let bytes = number.to_le_bytes();
        let mut bytes = bytes[..size].to_vec();
        if self.is_big_endian {
            bytes.reverse();
        }
        self.bytes.extend(bytes);
    }

    pub(super) fn length(&mut self, length: u64) {
        self.number(length, if self.version == 1 { 4 } else { 8 });
    }

    pub(super) fn text(&mut self, text: &str) {
        self.length(text.len() as u64);
        self.bytes.extend(text.as_bytes());
    }

    pub(super) fn text_value(&mut self, key: &str, text: &str) {
        self.text(key);
        self.number(8, 4);
        self.text(text);
    }

    pub(super) fn number_value(&mut self, key: &str, kind: u64, number: u64, size: usize) {
        self.text(key);
        self.number(kind, 4);
        self.number(number, size);
    }

    /// The file with so many bytes of data.
    pub(super) fn finish(mut self, data_bytes: usize) -> Vec<u8> {
        self.bytes.resize(self.bytes.len().next_multiple_of(32) + data_bytes, 0);
        self.bytes
    }

    pub(super) fn tensor(&mut self, name: &str, shape: &[u64], kind: u64, offset: u64) {
        self.text(name);
        self.number(shape.len() as u64, 4);
        for size in shape {
            self.length(*size);
        }
        self.number(kind, 4);
        self.number(offset, 8);
    }
}

/// A safetensors file of `F32` tensors with so many values each.
pub(super) fn safetensors(tensors: &[(&str, usize)]) -> Vec<u8> {
    let (mut header, mut at) = (serde_json::Map::new(), 0);
    for (name, values) in tensors {
        let end = at + values * 4;
        let info = serde_json::json!({"dtype": "F32", "shape": [values], "data_offsets": [at, end]});
        header.insert((*name).to_owned(), info);
        at = end;
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &vec![0; at]].concat()
}

/// One part of a split GGUF file, with two tensors; all of a model with `of` parts have `tensors`.
pub(super) fn part(number: u64, of: u64, tensors: u64) -> Vec<u8> {
    let mut file = Gguf::new(3, false, 2, 4);
    file.text_value("general.architecture", "llama");
    file.number_value("split.no", 2, number - 1, 2);
    file.number_value("split.count", 2, of, 2);
    file.number_value("split.tensors.count", 5, tensors, 4);
    file.tensor(&format!("a{number}"), &[32, 10], 8, 0);
    file.tensor(&format!("b{number}"), &[32], 0, 352);
    file.finish(480)
}
