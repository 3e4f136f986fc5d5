use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use pocket_kernels::Level;
use pocket_kernels::conv1d::ConvShape;
use pocket_kernels::parallel::Pool;
use pocket_kernels::quantized::QuantFormat;

use super::*;
use crate::arena::Arena;
use crate::context::{Context, Rows};
use crate::conv::{Conv1d, ConvTranspose1d, Padding};
use crate::error::ErrorKind;
use crate::linear::Linear;
use crate::weights::{DType, MatrixFormat, Tensor, WeightMap, Weights};
use pocket_kernels::testing::uniform;

fn noise(n: usize) -> Vec<f32> {
    uniform(n as u64, n, -1.0, 1.0)
}

const KEY: (&str, &str) = ("key", "this model");
const FORMATS: [MatrixFormat; 5] = [
    MatrixFormat::Stored,
    MatrixFormat::Bf16,
    MatrixFormat::Bf16Products,
    MatrixFormat::Quantized(QuantFormat::I8),
    MatrixFormat::Quantized(QuantFormat::I12),
];
const GROUPED: ConvShape = ConvShape { in_channels: 8, out_channels: 4, kernel: 3, stride: 1, dilation: 2, groups: 2 };
const DENSE: ConvShape = ConvShape { in_channels: 24, out_channels: 40, kernel: 3, stride: 2, dilation: 1, groups: 1 };
const TRANSPOSED: ConvShape =
    ConvShape { in_channels: 24, out_channels: 20, kernel: 6, stride: 3, dilation: 1, groups: 1 };

/// Files of one test, removed when dropped.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pocket-nn-{}-packed-{test}", std::process::id()));
        let _ = fs::remove_file(&path);
        Self(path)
    }

    fn scratch(&self) -> PathBuf {
        self.0.with_extension("scratch")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn tensors(dtype: DType) -> WeightMap {
    let shapes: [(&str, &[usize]); 10] = [
        ("dense.bias", &[40]),
        ("dense.weight", &[40, 24, 3]),
        ("grouped.weight", &[4, 4, 3]),
        ("linear.weight", &[70, 65]),
        ("stack.0.bias", &[33]),
        ("stack.0.weight", &[33, 64]),
        ("stack.1.bias", &[64]),
        ("stack.1.weight", &[64, 64]),
        ("transposed.bias", &[20]),
        ("transposed.weight", &[24, 20, 6]),
    ];
    let mut map = WeightMap::new();
    for (i, (name, shape)) in shapes.into_iter().enumerate() {
        let values = uniform(i as u64, shape.iter().product(), -1.0, 1.0);
        map.insert(Tensor::from_f32(name, shape, values).to_dtype(dtype));
    }
    map
}

/// Loads a layer of each kind and gives what they compute.
fn outputs(map: &WeightMap, format: MatrixFormat, packs: &Arc<Packs>) -> Vec<Vec<f32>> {
    let weights = Weights::new(map.clone(), "m").kept_as(&[("", format)]).packed_in(packs);
    let (pool, arena) = (Pool::default(), Arena::new());
    let linear = Linear::load(&weights.scope("linear"), &pool, 65, 70, false).unwrap();
    let stack = weights.scope("stack");
    let stacked = Linear::load_stacked(&[(stack.scope(0), 33), (stack.scope(1), 64)], &pool, 64).unwrap();
    let grouped = Conv1d::load(&weights.scope("grouped"), &pool, GROUPED, false, Padding::Zeros).unwrap();
    let dense = Conv1d::load(&weights.scope("dense"), &pool, DENSE, true, Padding::Zeros).unwrap();
    let transposed = ConvTranspose1d::load(&weights.scope("transposed"), &pool, TRANSPOSED).unwrap();
    weights.finish().unwrap();
    let ctx = Context { level: Level::detect(), pool: &pool, arena: &arena };
    let mut all =
        vec![vec![0.0; 3 * 70], vec![0.0; 2 * 97], vec![0.0; 4 * 4], vec![0.0; 2 * 40], vec![0.0; 4 * 3 * 20]];
    linear.forward_into(ctx, &noise(3 * 65), &mut all[0]);
    stacked.forward_into(ctx, &noise(2 * 64), &mut all[1]);
    let mut state = grouped.new_state();
    grouped.step(ctx, &noise(4 * 8), 4, &mut [Rows::new(1, &mut state)], |state| state, false, &mut all[2]);
    let mut state = dense.new_state();
    dense.step(ctx, &noise(4 * 24), 4, &mut [Rows::new(1, &mut state)], |state| state, false, &mut all[3]);
    let mut state = transposed.new_state();
    transposed.step(ctx, &noise(4 * 24), 4, &mut [Rows::new(1, &mut state)], |state| state, &mut all[4]);
    all
}

fn new_packs(files: &Files) -> Arc<Packs> {
    Arc::new(Packs::New(Mutex::new(PackedWriter::create(files.scratch()).unwrap())))
}

fn complete(packs: &Packs, files: &Files) -> io::Result<()> {
    packs.complete(&[KEY, ("fact", "x")], |scratch| fs::rename(scratch, &files.0))
}

/// Writes the file and gives what the layers computed meanwhile.
fn written(map: &WeightMap, format: MatrixFormat, files: &Files) -> Vec<Vec<f32>> {
    let packs = new_packs(files);
    let outputs = outputs(map, format, &packs);
    complete(&packs, files).unwrap();
    outputs
}

fn open(files: &Files) -> Result<PackedFile, crate::WeightsError> {
    PackedFile::open(&files.0, KEY, &Pool::new(2), |name| name.starts_with("dense"))
}

#[test]
fn files_give_the_same_bits_as_packing_anew() {
    let files = Files::new("bits");
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        let map = tensors(dtype);
        for format in FORMATS {
            let expected = outputs(&map, format, &Arc::default());
            assert!(expected.iter().all(|values| values.iter().any(|x| *x != 0.0)));
            assert_eq!(written(&map, format, &files), expected, "{dtype} {format:?}, while packing");
            let file = open(&files).unwrap();
            assert_eq!(file.metadata()["fact"], "x");
            let packs = Arc::new(Packs::Stored(file));
            // Nothing of the tensors that were packed is read.
            let mut blank = WeightMap::new();
            for tensor in map.iter() {
                let is_packed = tensor.name().ends_with("weight");
                let values = if is_packed { vec![f32::NAN; tensor.numel()] } else { tensor.to_f32() };
                blank.insert(Tensor::from_f32(tensor.name(), tensor.shape(), values).to_dtype(dtype));
            }
            assert_eq!(outputs(&blank, format, &packs), expected, "{dtype} {format:?}, stored");
            let parts = packs.file_parts(|name| name.starts_with("linear.weight"));
            assert_eq!(parts.len(), if matches!(format, MatrixFormat::Quantized(_)) { 2 } else { 1 });
            parts.iter().for_each(FilePart::release);
            assert_eq!(outputs(&blank, format, &packs), expected, "{dtype} {format:?}, given back");
            let Packs::Stored(file) = &*packs else { unreachable!() };
            assert!(!file.is_unfit());
        }
    }
    assert!(!files.scratch().exists());
}

#[test]
fn damage_is_noticed() {
    let files = Files::new("damage");
    written(&tensors(DType::F32), MatrixFormat::Quantized(QuantFormat::I8), &files);
    let valid = fs::read(&files.0).unwrap();
    let n_header = valid[..1 << 18].iter().rposition(|byte| *byte != b' ').unwrap();
    let places = (0..=n_header).step_by(3).chain((1 << 18..valid.len()).step_by(97)).chain([valid.len() - 1]);
    for at in places {
        let mut bytes = valid.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&files.0, bytes).unwrap();
        open(&files).expect_err(&format!("byte {at}"));
    }
    for len in [0, 7, 8, 1000, 1 << 18, valid.len() - 64, valid.len() - 1] {
        fs::write(&files.0, &valid[..len]).unwrap();
        open(&files).expect_err(&format!("{len} bytes"));
    }
    fs::write(&files.0, [&valid[..], &[0; 64]].concat()).unwrap();
    open(&files).unwrap_err();
    fs::write(&files.0, &valid).unwrap();
    open(&files).unwrap();
}

#[test]
fn other_files_are_refused() {
    let files = Files::new("other");
    assert_eq!(open(&files).unwrap_err().kind(), ErrorKind::NotFound);
    written(&tensors(DType::F32), MatrixFormat::Stored, &files);
    let other = PackedFile::open(&files.0, ("key", "another model"), &Pool::default(), |_| false);
    assert!(other.unwrap_err().to_string().contains("other matrices than its name says"));
}

#[test]
fn matrices_that_do_not_fit_are_packed_anew() {
    let files = Files::new("unfit");
    let map = tensors(DType::F32);
    written(&map, MatrixFormat::Stored, &files);
    let packs = Arc::new(Packs::Stored(open(&files).unwrap()));
    let format = MatrixFormat::Bf16;
    assert_eq!(outputs(&map, format, &packs), outputs(&map, format, &Arc::default()));
    let Packs::Stored(file) = &*packs else { unreachable!() };
    assert!(file.is_unfit());
}

#[test]
fn failures_to_write_leave_the_matrices_in_memory() {
    let files = Files::new("failure");
    let map = tensors(DType::F32);
    let packs = new_packs(&files);
    // Two matrices of one name do not occur, but fail where a full disk would.
    let expected = outputs(&map, MatrixFormat::Stored, &packs);
    assert_eq!(outputs(&map, MatrixFormat::Stored, &packs), expected);
    assert!(complete(&packs, &files).unwrap_err().to_string().contains("two matrices"));
    drop(packs);
    assert!(!files.scratch().exists());
    assert!(!files.0.exists());

    let packs = new_packs(&files);
    outputs(&map, MatrixFormat::Stored, &packs);
    let refused = packs.complete(&[KEY], |_| Err(io::ErrorKind::PermissionDenied.into()));
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    drop(packs);
    assert!(!files.scratch().exists());
    fs::write(files.scratch(), b"").unwrap();
    assert_eq!(PackedWriter::create(files.scratch()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    fs::remove_file(files.scratch()).unwrap();
}
