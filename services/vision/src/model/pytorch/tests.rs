use super::*;

/// Writes pickles of protocol 2 as `torch.save` does.
#[derive(Default)]
struct Pickle(Vec<u8>);

impl Pickle {
    fn start() -> Self {
        Self(vec![0x80, 2])
    }

    fn op(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn text(self, text: &str) -> Self {
        self.op(b"X")
            .op(&(text.len() as u32).to_le_bytes())
            .op(text.as_bytes())
    }

    fn int(self, number: u32) -> Self {
        self.op(b"J").op(&number.to_le_bytes())
    }

    fn sizes(self, sizes: &[u32]) -> Self {
        let marked = self.op(b"(");
        let listed = sizes.iter().fold(marked, |pickle, size| pickle.int(*size));
        listed.op(b"t")
    }

    fn tensor(self, key: &str, numbers: u32, offset: u32, shape: &[u32], strides: &[u32]) -> Self {
        self.tensor_of("FloatStorage", key, numbers, offset, shape, strides)
    }

    fn tensor_of(
        self,
        storage: &str,
        key: &str,
        numbers: u32,
        offset: u32,
        shape: &[u32],
        strides: &[u32],
    ) -> Self {
        self.op(b"ctorch._utils\n_rebuild_tensor_v2\n((")
            .text("storage")
            .op(format!("ctorch\n{storage}\n").as_bytes())
            .text(key)
            .text("cpu")
            .int(numbers)
            .op(b"NtQ")
            .int(offset)
            .sizes(shape)
            .sizes(strides)
            .op(b"\x89ccollections\nOrderedDict\n)RtR")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.push(b'.');
        self.0
    }
}

fn encode_header() -> Vec<u8> {
    let magic = Pickle::start().op(b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19");
    let version = Pickle::start().op(b"M\xe9\x03");
    let machine = Pickle::start()
        .op(b"}q\x00(")
        .text("little_endian")
        .op(b"\x88u");
    [magic.end(), version.end(), machine.end()].concat()
}

fn encode_keys(keys: &[&str]) -> Vec<u8> {
    let start = Pickle::start().op(b"]q\x00(");
    let keys = keys.iter().fold(start, |pickle, key| pickle.text(key));
    keys.op(b"e").end()
}

fn encode_storage(numbers: &[f32]) -> Vec<u8> {
    let mut bytes = (numbers.len() as u64).to_le_bytes().to_vec();
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    bytes
}

fn encode_floats() -> Vec<u8> {
    encode_storage(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
}

/// A checkpoint with the given pickle of tensors over one storage of six numbers.
fn encode_checkpoint(tensors: Vec<u8>) -> Vec<u8> {
    [
        encode_header(),
        tensors,
        encode_keys(&["s"]),
        encode_floats(),
    ]
    .concat()
}

fn encode_tensors() -> Vec<u8> {
    let tensors = Pickle::start()
        .op(b"ccollections\nOrderedDict\nq\x00)Rq\x01(")
        .text("a")
        .tensor("s", 6, 0, &[2, 2], &[2, 1])
        .text("b")
        .tensor("s", 6, 5, &[], &[])
        // Transposed, as weights that were converted from TensorFlow.
        .text("c")
        .tensor("s", 6, 0, &[3, 1, 2], &[1, 6, 3])
        .text("batches")
        .tensor_of("LongStorage", "i", 1, 0, &[], &[])
        // The metadata of modules: an attribute of the dictionary.
        .op(b"u}")
        .text("_metadata")
        .op(b"h\x00)Rsb");
    let integer = [1_u64.to_le_bytes(), 7_u64.to_le_bytes()].concat();
    let keys = encode_keys(&["i", "s"]);
    [
        encode_header(),
        tensors.end(),
        keys,
        integer,
        encode_floats(),
    ]
    .concat()
}

#[test]
fn named_tensors_are_read() {
    let file = encode_tensors();
    let tensors = read_checkpoint(&file).unwrap();
    let numbers = |name: &str| -> Vec<f32> {
        let (chunks, rest) = tensors[name].bytes.as_chunks();
        assert!(rest.is_empty());
        chunks
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect()
    };
    assert_eq!(tensors.len(), 3);
    assert_eq!(tensors["c"].shape, [3, 1, 2]);
    assert_eq!(numbers("c"), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(tensors["a"].shape, [2, 2]);
    assert_eq!(numbers("a"), [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(tensors["b"].shape, [0; 0]);
    assert_eq!(numbers("b"), [5.0]);
}

#[test]
fn other_code_than_that_of_tensors_is_refused() {
    #[track_caller]
    fn check(tensors: Pickle, expected: &str) {
        let file = encode_checkpoint(tensors.end());
        let problem = read_checkpoint(&file).unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    }
    let start = Pickle::start;
    // os.system("true"), and the same by other instructions of pickle.
    let call = start().op(b"cposix\nsystem\n(").text("true").op(b"tR");
    check(call, "\"posix\" \"system\", which is not allowed");
    check(start().op(b"(cposix\nsystem\no"), "not allowed");
    check(
        start().op(b"(S'true'\niposix\nsystem\n"),
        "0x53 is not allowed",
    );
    check(start().op(b"\x93"), "0x93 is not allowed");
    check(start().op(b"\x81"), "0x81 is not allowed");
    check(start().op(b"\x82\x01"), "0x82 is not allowed");
    check(Pickle::default().op(b"\x80\x04N"), "protocol 4");

    check(start().op(b"ctorch\nFloatStorage\n)R"), "unknown way");
    check(
        start().op(b"ctorch._utils\n_rebuild_tensor_v2\n)R"),
        "unknown way",
    );
    check(start().op(b"NQ"), "other than a storage of numbers");
    check(start().op(b"R"), "empty stack");
    check(start().op(b"(R"), "empty stack");
    check(start().op(b"N(\x85"), "lacks values");
    check(start().op(b"t"), "lacks values");
    check(start().op(b"(Nu"), "other than a dictionary");
    check(start().op(b"}(Nu"), "lacks its value");
    check(start().op(b"}q\x00h\x00"), "reuses");
    check(start().op(b"h\x07"), "reuses");
    check(start().op(b"Nr\xff\xff\xff\x00"), "too many");
    check(start().op(b"\x8a\xff"), "has 255 bytes");
    check(start().op(&b"N".repeat(70_000)), "too many");
    check(start().op(&b"(".repeat(70_000)), "too many");
    check(
        start().op(b")").op(&b"\x85".repeat(1000)),
        "nested too deep",
    );
    check(start().op(b"N"), "no dictionary");
    check(start().op(b"}(NNu"), "other than named tensors");
}

#[test]
fn tensors_outside_their_storage_are_refused() {
    #[track_caller]
    fn check(shape: &[u32], strides: &[u32], offset: u32, numbers: u32, expected: &str) {
        let tensors = Pickle::start()
            .op(b"}(")
            .text("a")
            .tensor("s", numbers, offset, shape, strides)
            .op(b"u");
        let file = encode_checkpoint(tensors.end());
        let problem = read_checkpoint(&file).unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    }
    let misfit = "does not fit";
    check(&[2, 4], &[4, 1], 0, 6, misfit);
    check(&[2, 3], &[3, 1], 1, 6, misfit);
    check(&[2, 3], &[1, 3], 0, 6, misfit);
    check(&[2, 3], &[3], 0, 6, misfit);
    check(&[2, 0], &[3, 1], 0, 6, misfit);
    check(&[1; 9], &[1; 9], 0, 6, misfit);
    // Numbers that are used more than once.
    check(&[7, 6], &[0, 1], 0, 6, misfit);
    check(&[i32::MAX as u32; 3], &[1, 1, 1], 0, 6, misfit);
    check(&[u32::MAX], &[1], 0, 6, misfit);
    check(&[7], &[1], 0, 7, "no numbers of its length");
    check(&[2], &[1], 0, i32::MAX as u32, "no numbers of its length");
}

#[test]
fn many_tensors_of_one_storage_are_refused() {
    let start = Pickle::start().op(b"}(");
    let tensors = (0..2000).fold(start, |pickle, number| {
        let named = pickle.text(&number.to_string());
        // The tensor of the first one is used again by the others.
        match number {
            0 => named.tensor("s", 1000, 0, &[1000], &[1]).op(b"q\x00"),
            _ => named.op(b"h\x00"),
        }
    });
    let storage = encode_storage(&[1.0; 1000]);
    let keys = encode_keys(&["s"]);
    let file = [encode_header(), tensors.op(b"u").end(), keys, storage].concat();
    let problem = read_checkpoint(&file).unwrap_err();
    assert!(problem.contains("larger than the file"), "{problem}");
}

/// No damaged file may cause a panic, and none that is too short or too long is accepted.
#[test]
fn damaged_files_are_refused() {
    let good = encode_tensors();
    for length in 0..good.len() {
        assert!(read_checkpoint(&good[..length]).is_err(), "{length}");
    }
    assert!(read_checkpoint(&[&good[..], &[0]].concat()).is_err());
    for position in 0..good.len() {
        for bit in 0..8 {
            let mut damaged = good.clone();
            damaged[position] ^= 1 << bit;
            let _ = read_checkpoint(&damaged);
        }
    }
    let mut huge = encode_tensors();
    let start = huge.len() - 6 * size_of::<f32>() - 8;
    huge[start..start + 8].fill(0xff);
    assert!(read_checkpoint(&huge).is_err());
    assert!(read_checkpoint(b"PK\x03\x04").is_err());
}
