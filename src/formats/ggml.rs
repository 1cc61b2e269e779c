//! The types of ggml: those of tensors, and those of whole files.
//!
//! Source: `GGML_QUANT_SIZES` and `LlamaFileType` in gguf-py 0.19, and `ggml.h`.

/// A type of tensors: values come in blocks of a fixed number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TensorType {
    pub(super) name: &'static str,
    block_values: u64,
    block_bytes: u64,
}

impl TensorType {
    pub(super) fn of(number: u32) -> Option<Self> {
        let (name, block_values, block_bytes) = match number {
            0 => ("F32", 1, 4),
            1 => ("F16", 1, 2),
            2 => ("Q4_0", 32, 18),
            3 => ("Q4_1", 32, 20),
            6 => ("Q5_0", 32, 22),
            7 => ("Q5_1", 32, 24),
            8 => ("Q8_0", 32, 34),
            9 => ("Q8_1", 32, 40),
            10 => ("Q2_K", 256, 84),
            11 => ("Q3_K", 256, 110),
            12 => ("Q4_K", 256, 144),
            13 => ("Q5_K", 256, 176),
            14 => ("Q6_K", 256, 210),
            15 => ("Q8_K", 256, 292),
            16 => ("IQ2_XXS", 256, 66),
            17 => ("IQ2_XS", 256, 74),
            18 => ("IQ3_XXS", 256, 98),
            19 => ("IQ1_S", 256, 50),
            20 => ("IQ4_NL", 32, 18),
            21 => ("IQ3_S", 256, 110),
            22 => ("IQ2_S", 256, 82),
            23 => ("IQ4_XS", 256, 136),
            24 => ("I8", 1, 1),
            25 => ("I16", 1, 2),
            26 => ("I32", 1, 4),
            27 => ("I64", 1, 8),
            28 => ("F64", 1, 8),
            29 => ("IQ1_M", 256, 56),
            30 => ("BF16", 1, 2),
            34 => ("TQ1_0", 256, 54),
            35 => ("TQ2_0", 256, 66),
            39 => ("MXFP4", 32, 17),
            40 => ("NVFP4", 64, 36),
            41 => ("Q1_0", 128, 18),
            _ => return None,
        };
        Some(TensorType { name, block_values, block_bytes })
    }

    /// The bytes of so many values.
    pub(super) fn bytes(self, values: u64) -> Option<u64> {
        values.div_ceil(self.block_values).checked_mul(self.block_bytes)
    }
}

/// The name of a file type, as llama.cpp and Ollama write it.
pub(crate) fn file_type_name(file_type: u64) -> Option<&'static str> {
    Some(match file_type {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4",
        39 => "NVFP4",
        40 => "Q1_0",
        _ => return None,
    })
}

/// Whether a file of this type can have tensors of that type as its main ones: `Q4_K_M` has `Q4_K`, `IQ2_M` has
/// `IQ2_S`.
pub(super) fn is_of(file_type: &str, tensor_type: &str) -> bool {
    let family = |name: &'static str| file_type.starts_with(name) && tensor_type.starts_with(name);
    file_type == tensor_type
        || ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ1_", "IQ2_", "IQ3_", "IQ4_"].into_iter().any(family)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Red when a block's size is wrong.
    #[test]
    fn sizes_of_blocks() {
        let bytes = |number, values| TensorType::of(number).unwrap().bytes(values);
        assert_eq!(bytes(0, 3), Some(12));
        assert_eq!(bytes(3, 64), Some(40));
        assert_eq!(bytes(12, 257), Some(288));
        assert_eq!(bytes(39, 32), Some(17));
        assert_eq!(bytes(28, u64::MAX), None);
        assert_eq!(TensorType::of(4), None);
        assert_eq!(TensorType::of(u32::MAX), None);
    }

    #[test]
    fn files_and_their_tensors() {
        for (file, tensor) in [("Q4_K_M", "Q4_K"), ("IQ2_M", "IQ2_S"), ("F16", "F16"), ("Q2_K_S", "Q2_K")] {
            assert!(is_of(file, tensor), "{file} {tensor}");
        }
        for (file, tensor) in [("F16", "BF16"), ("Q4_0", "Q4_K"), ("Q4_K_M", "Q6_K"), ("F32", "F16")] {
            assert!(!is_of(file, tensor), "{file} {tensor}");
        }
    }
}
