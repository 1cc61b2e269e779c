use super::made::{Gguf, part, safetensors};
use super::*;
use crate::error::Result;
use crate::read_at::{InMemory, ReadAt};

/// The facts of a model with these files.
fn facts(files: &[(&str, Vec<u8>)]) -> Facts {
    let list: Vec<ModelFile> =
        files.iter().map(|(path, bytes)| ModelFile { path: (*path).into(), size_bytes: bytes.len() as u64 }).collect();
    let open = |place: usize| -> Result<Box<dyn ReadAt>> {
        let (name, bytes) = &files[place];
        Ok(Box::new(InMemory { name: (*name).into(), bytes: bytes.clone() }))
    };
    facts_of(&ModelFiles::new(&list, &open)).unwrap()
}

/// What is missing, of a model that is known to be incomplete.
fn missing(files: &[(&str, Vec<u8>)]) -> Vec<String> {
    let facts = facts(files);
    assert_eq!(facts.completeness, Completeness::Incomplete, "{facts:?}");
    facts.missing
}

fn is_complete(files: &[(&str, Vec<u8>)]) {
    let facts = facts(files);
    assert_eq!((facts.completeness, facts.missing), (Completeness::Complete, Vec::<String>::new()));
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn model(file_type: u64, tensor_type: u64) -> Vec<u8> {
    let mut file = Gguf::new(3, false, 2, 3);
    file.text_value("general.architecture", "llama");
    file.text_value("general.name", "Tiny\x1b[31m");
    file.number_value("general.file_type", 4, file_type, 4);
    file.tensor("weights", &[256, 100], tensor_type, 0);
    file.tensor("norm", &[256], 0, 102_400);
    file.finish(103_424)
}

// Red when `general.file_type` is believed in any case.
#[test]
fn a_file_type_that_lies_gives_way_to_the_tensors() {
    let quantization = |file_type, tensor_type| facts(&[("m.gguf", model(file_type, tensor_type))]).quantization;
    for (file_type, tensor_type, told) in [
        (15, 12, "Q4_K_M"),
        (7, 8, "Q8_0"),
        (1, 1, "F16"),
        (0, 0, "F32"),
        (0, 12, "Q4_K"), // F32, which small tensors have in any file
        (1, 8, "Q8_0"),
        (15, 8, "Q8_0"),
        (1024, 2, "Q4_0"),
    ] {
        assert_eq!(quantization(file_type, tensor_type).as_deref(), Some(told), "{file_type} {tensor_type}");
    }
    assert_eq!(quantization(1024, 999).as_deref(), Some("type 999"));
}

#[test]
fn a_gguf_file_alone_can_have_any_name() {
    for name in ["m.gguf", "blob", "model.bin"] {
        let facts = facts(&[(name, model(15, 12))]);
        assert_eq!((facts.format, facts.architecture.as_deref()), (Some(ModelFormat::Gguf), Some("llama")), "{name}");
        assert_eq!((facts.parameters, facts.tensors), (Some(25_856), 2));
        assert_eq!(facts.name.as_deref(), Some("Tiny\u{fffd}[31m"));
        assert_eq!((facts.completeness, facts.parts), (Completeness::Complete, None));
    }
    assert_eq!(facts(&[("notes.txt", text("hello"))]), Facts::default());
    assert_eq!(facts(&[]), Facts::default());
}

#[test]
fn a_file_shorter_than_its_tensors_is_incomplete() {
    let whole = model(15, 12);
    let cut = whole[..whole.len() - 1].to_vec();
    assert_eq!(missing(&[("m.gguf", cut)]), [format!("m.gguf has {} of {} bytes", whole.len() - 1, whole.len())]);
    assert_eq!(missing(&[("m.gguf", whole[..100].to_vec())]), ["m.gguf is damaged: it ends within its header"]);
    assert_eq!(missing(&[("m.gguf", text("not found"))]), ["m.gguf is not a GGUF file"]);
    let weights = safetensors(&[("a", 10)]);
    let cut = weights[..weights.len() - 1].to_vec();
    assert_eq!(
        missing(&[("m.safetensors", cut)]),
        [format!("m.safetensors has {} of {} bytes", weights.len() - 1, weights.len())]
    );
    assert_eq!(missing(&[("m.safetensors", weights[..20].to_vec())]), ["m.safetensors ends within its header"]);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    for name in ["m.gguf", "m.safetensors", "pytorch_model.bin", "tokenizer.json"] {
        let files = [(name, text(pointer)), ("x", text("x"))];
        assert_eq!(missing(&files), [format!("{name} is a pointer of Git LFS, and not the file itself")]);
    }
}

// Red when a part is not compared with its name, or tensors are not counted.
#[test]
fn parts_of_a_split_file() {
    let names = ["q/m-00001-of-00003.gguf", "q/m-00002-of-00003.gguf", "q/m-00003-of-00003.gguf"];
    let parts = || names.into_iter().zip(1..).map(|(name, number)| (name, part(number, 3, 6))).collect::<Vec<_>>();
    let whole = facts(&parts());
    assert_eq!((whole.completeness, whole.parts), (Completeness::Complete, Some(PartCount { present: 3, total: 3 })));
    assert_eq!((whole.tensors, whole.parameters), (6, Some(3 * 352)));
    assert_eq!(whole.entry.as_deref(), Some(names[0]));

    let mut gone = parts();
    gone.remove(1);
    assert_eq!(missing(&gone), ["q/m-00002-of-00003.gguf is missing"]);
    assert_eq!(facts(&gone).parts, Some(PartCount { present: 2, total: 3 }));
    assert_eq!(missing(&gone[1..]).len(), 2);
    let mut swapped = parts();
    swapped[1].1 = part(3, 3, 6);
    assert_eq!(missing(&swapped), ["q/m-00002-of-00003.gguf is part 3 of 3 by its header"]);
    let mut other = parts();
    other[1].1 = part(2, 3, 7);
    assert_eq!(missing(&other), ["q/m has 6 of 7 tensors"]);
    assert_eq!(missing(&[("blob", part(2, 3, 6))]), ["blob is part 2 of 3, which its name must say"]);
}

fn index(map: &[(&str, &str)], total_bytes: u64) -> Vec<u8> {
    let map: serde_json::Map<String, serde_json::Value> =
        map.iter().map(|(tensor, file)| ((*tensor).to_owned(), (*file).into())).collect();
    serde_json::to_vec(&serde_json::json!({"metadata": {"total_size": total_bytes}, "weight_map": map})).unwrap()
}

// Red when a file, a tensor or the sum is not compared with the index.
#[test]
fn the_index_of_safetensors() {
    const INDEX: &str = "model.safetensors.index.json";
    let (one, two) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    let map = [("a", one), ("b", one), ("c", two)];
    let files = |total: u64| {
        vec![
            (INDEX, index(&map, total)),
            (one, safetensors(&[("a", 10), ("b", 10)])),
            (two, safetensors(&[("c", 10), ("more", 10)])),
        ]
    };
    is_complete(&files(160));
    assert_eq!(missing(&files(164)), [format!("{INDEX} names 164 bytes of tensors, and 160 are there")]);
    let mut gone = files(120);
    gone.remove(2);
    assert_eq!(missing(&gone), [format!("{two} is missing")]);
    let mut lacks = files(100);
    lacks[1].1 = safetensors(&[("a", 10), ("x", 10)]);
    assert_eq!(missing(&lacks), [format!("{one} lacks the tensor b")]);
    assert_eq!(missing(&[(INDEX, text("{")), (one, safetensors(&[]))])[1..], [format!("{INDEX} is damaged")]);
    let odd = [("sub/x.safetensors.index.json", index(&[("a", "w.safetensors")], 0)), ("x", text("x"))];
    assert_eq!(missing(&odd), ["sub/w.safetensors is missing"]);
}

const CONFIG: &str =
    r#"{"model_type": "llama", "vocab_size": 32000, "max_position_embeddings": 4096, "hidden_size": 64}"#;

// Red when the tokenizer is not looked for: transformers then loads a vocabulary of five words without a word.
#[test]
fn what_transformers_needs() {
    let weights = || ("model.safetensors", safetensors(&[("a", 10)]));
    let config = || ("config.json", text(CONFIG));
    let tokenizer = || ("tokenizer.json", text("{}"));
    is_complete(&[config(), weights(), tokenizer()]);
    is_complete(&[config(), weights(), ("vocab.json", text("{}")), ("merges.txt", text(""))]);
    for files in [vec![config(), weights()], vec![config(), weights(), ("vocab.json", text("{}"))]] {
        assert!(missing(&files)[0].starts_with("its tokenizer is missing"));
    }
    assert_eq!(missing(&[weights(), tokenizer()]), ["config.json is missing"]);
    assert_eq!(missing(&[("config.json", text("{")), weights(), tokenizer()]), ["config.json is damaged"]);
    // A model of pictures has no words, and an adapter has no configuration of its own.
    is_complete(&[("config.json", text(r#"{"model_type": "vit"}"#)), weights()]);
    is_complete(&[("adapter_config.json", text("{}")), weights(), tokenizer()]);
    let facts = facts(&[config(), weights(), tokenizer(), ("chat_template.jinja", text("x"))]);
    assert_eq!((facts.architecture.as_deref(), facts.context_length), (Some("llama"), Some(4096)));
    assert_eq!((facts.vocabulary, facts.embedding_length, facts.chat_template), (Some(32000), Some(64), true));
    assert_eq!((facts.quantization.as_deref(), facts.parameters), (Some("F32"), Some(10)));
}

#[test]
fn the_modules_of_sentence_transformers() {
    let modules = r#"[{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]"#;
    let base = vec![("modules.json", text(modules)), ("model.safetensors", safetensors(&[("a", 1)]))];
    assert_eq!(missing(&base), ["1_Pooling/ is missing"]);
    is_complete(&[base, vec![("1_Pooling/config.json", text("{}"))]].concat());
}

#[test]
fn the_largest_of_several_models_counts_and_no_projector() {
    let mut projector = Gguf::new(3, false, 1, 1);
    projector.text_value("general.architecture", "clip");
    projector.tensor("v", &[1000, 1000], 0, 0);
    let projector = projector.finish(4_000_000);
    let facts_of_all = facts(&[
        ("a-Q4.gguf", model(15, 12)),
        ("b-F16.gguf", [model(1, 1), vec![0; 64]].concat()),
        ("mmproj.gguf", projector.clone()),
    ]);
    assert_eq!((facts_of_all.entry.as_deref(), facts_of_all.other_models), (Some("b-F16.gguf"), 1));
    assert_eq!(facts(&[("mmproj.gguf", projector)]).role, Some(ModelRole::Projector));
}

#[test]
fn a_packed_model_has_more_parameters_than_values() {
    let header = r#"{"a":{"dtype":"I32","shape":[10],"data_offsets":[0,40]}}"#;
    let weights = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 40]].concat();
    let config = r#"{"model_type": "llama", "quantization_config": {"quant_method": "gptq", "bits": 4}}"#;
    let facts = facts(&[("config.json", text(config)), ("model.safetensors", weights)]);
    assert_eq!((facts.parameters, facts.parameters_are_minimum), (Some(10), true));
    assert_eq!(facts.quantization.as_deref(), Some("gptq-4bit"));
}

// Red when the same files give other facts: raise `VERSION`, or stores go on telling the facts that they have kept.
#[test]
fn facts_of_this_version() {
    let fixture = std::fs::read("tests/fixtures/tiny-llama-q8_0.gguf").unwrap();
    let transformers = [
        ("README.md", text("---\nlicense: mit\nbase_model: org/a\nlanguage: en\n---\n")),
        ("config.json", text(r#"{"model_type":"llama","vocab_size":9,"num_hidden_layers":2,"hidden_size":8}"#)),
        ("model.safetensors", safetensors(&[("a", 10), ("b", 4)])),
    ];
    let all = [
        facts(&[("m.gguf", fixture)]),
        facts(&transformers),
        facts(&[("m.gguf", model(15, 12))]),
        facts(&[("m-00001-of-00003.gguf", part(1, 3, 6)), ("m-00003-of-00003.gguf", part(3, 3, 6))]),
    ];
    let hash = blake3::hash(&serde_json::to_vec(&all).unwrap()).to_hex();
    assert_eq!((VERSION, &hash[..16]), (1, "2f133ecd576fe97d"));
}
