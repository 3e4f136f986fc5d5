use pocket_nn::DType;

use super::*;
use crate::ErrorKind;
use crate::config::Checkpoint;
use crate::config::tests::MINIMAL;
use crate::testing::ScratchFolder;

fn tensor(name: &str, values: &[f32]) -> Tensor {
    Tensor::from_f32(name, &[values.len()], values.to_vec())
}

/// A folder with one file of each layout.
fn scratch() -> ScratchFolder {
    let folder = ScratchFolder::new();
    let write = |name: &str, tensors: &[Tensor]| {
        let mut map = WeightMap::new();
        for tensor in tensors {
            map.insert(tensor.clone());
        }
        folder.write(name, &map.to_bytes().unwrap());
    };
    write(
        "bundle",
        &[
            tensor("flow_lm.conditioner.embed.weight", &[1.0]),
            tensor("flow_lm.speaker_proj_weight", &[2.0]),
            tensor("flow_lm.bos_before_voice", &[3.0]),
            tensor("flow_lm.transformer.layers.0.self_attn.in_proj.weight", &[4.0]),
            tensor("mimi.encoder.x", &[5.0]),
        ],
    );
    write(
        "flow_lm",
        &[
            tensor("condition_provider.conditioners.transcript_in_segment.embed.weight", &[10.0]),
            tensor("condition_provider.conditioners.speaker_wavs.output_proj.weight", &[20.0]),
            tensor("condition_provider.conditioners.speaker_wavs.learnt_padding", &[0.0]),
            tensor("fuser.padding_value", &[30.0]),
            tensor("transformer.layers.0.self_attn.in_proj_weight", &[40.0]),
            tensor("flow.w_s_t.table", &[0.0]),
            Tensor::from_i64("num_ema_updates", &[1], &[1]),
        ],
    );
    write("codec", &[tensor("mimi.encoder.x", &[50.0]), tensor("flow_lm.ignored", &[0.0])]);
    let v = [-1.1258398, -1.1523602, 0.566_650_6, 0.793_508_35, 0.598_839_46, -1.555_095_1];
    write(
        "old_codec",
        &[
            tensor("model.encoder.x", &[500.0]),
            Tensor::from_f32("decoder.1.conv.conv.weight_v", &[1, 2, 3], v.to_vec()),
            Tensor::from_f32("decoder.1.conv.conv.weight_g", &[1, 1, 1], vec![0.650_679_77]),
            tensor("decoder.1.convtr.convtr.bias", &[1.0]),
            tensor("encoder_transformer.in_proj_weight", &[2.0]),
            tensor("quantizer.vq_codebook", &[0.0]),
            tensor("model.quantizer.vq.layers", &[0.0]),
            tensor("quantizer.logvar_proj.weight", &[0.0]),
            tensor("wavlm_proj.weight", &[0.0]),
        ],
    );
    folder
}

fn load(
    folder: &ScratchFolder,
    bundle: Option<&str>,
    flow_lm: Option<&str>,
    mimi: Option<&str>,
) -> Result<Weights, Error> {
    let path = |name: &str| folder.path(name).display().to_string();
    let mut config = Config::from_yaml_str(MINIMAL, "c.yaml").unwrap();
    config.weights_path = bundle.map(path);
    config.flow_lm.weights_path = flow_lm.map(path);
    config.mimi.weights_path = mimi.map(path);
    load_weights(&config)
}

fn value(weights: &Weights, name: &str) -> f32 {
    weights.get(name, &[1]).unwrap().to_f32()[0]
}

fn take_flow_lm(weights: &Weights) -> [f32; 4] {
    let flow_lm = weights.scope("flow_lm");
    [
        value(&flow_lm, "conditioner.embed.weight"),
        value(&flow_lm, "speaker_proj_weight"),
        value(&flow_lm, "bos_before_voice"),
        value(&flow_lm, "transformer.layers.0.self_attn.in_proj.weight"),
    ]
}

#[test]
fn every_layout_gives_the_same_names() {
    let folder = scratch();
    let (bundle, flow_lm, codec) = (Some("bundle"), Some("flow_lm"), Some("codec"));
    let own = [1.0, 2.0, 3.0, 4.0];
    let cases = [
        (bundle, None, None, own, 5.0),
        (bundle, None, codec, own, 50.0),
        (None, flow_lm, codec, own.map(|x| 10.0 * x), 50.0),
        (bundle, flow_lm, codec, own, 50.0),
    ];
    for (bundle, flow_lm, mimi, expected, codec) in cases {
        let weights = load(&folder, bundle, flow_lm, mimi).unwrap();
        assert_eq!(take_flow_lm(&weights).map(f32::to_bits), expected.map(f32::to_bits));
        assert_eq!(value(&weights, "mimi.encoder.x").to_bits(), f32::to_bits(codec));
        weights.finish().unwrap();
    }
}

#[test]
fn older_codec_names_and_weight_norm() {
    let weights = load(&scratch(), None, Some("flow_lm"), Some("old_codec")).unwrap();
    take_flow_lm(&weights);
    let weight = weights.get("mimi.decoder.1.conv.weight", &[1, 2, 3]).unwrap().to_f32();
    // torch._weight_norm(v, g, dim=0)
    let expected: [f32; 6] = [-0.291_325_15, -0.298_187_6, 0.146_627_93, 0.205_330_2, 0.154_957_2, -0.402_400_3];
    for (actual, expected) in weight.iter().zip(expected) {
        assert!((actual - expected).abs() < 1e-7, "{actual} {expected}");
    }
    value(&weights, "mimi.encoder.x");
    value(&weights, "mimi.decoder.1.convtr.bias");
    value(&weights, "mimi.encoder_transformer.in_proj.weight");
    weights.finish().unwrap();
}

#[test]
fn half_precision_pairs_are_rounded_like_pytorch() {
    let folder = ScratchFolder::new();
    let mut map = WeightMap::new();
    map.insert(Tensor::from_f32("a.weight_v", &[1, 2], vec![3.0, 4.0]).to_dtype(DType::Bf16));
    map.insert(Tensor::from_f32("a.weight_g", &[1, 1], vec![1.0]).to_dtype(DType::Bf16));
    let path = folder.write("pair", &map.to_bytes().unwrap());
    let mimi = mimi_from_file(&path).unwrap();
    let weight = mimi.get("mimi.a.weight").unwrap();
    assert_eq!(weight.dtype(), DType::Bf16);
    let expected = Tensor::from_f32("", &[2], vec![0.6, 0.8]).to_dtype(DType::Bf16);
    assert_eq!(weight.bytes(), expected.bytes());
}

#[test]
fn incomplete_settings_are_refused() {
    let folder = scratch();
    let message = |bundle, flow_lm, mimi| {
        let error = load(&folder, bundle, flow_lm, mimi).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ModelFormat));
        error.to_string()
    };
    assert!(message(None, None, None).contains("without weights"));
    assert!(message(None, Some("flow_lm"), None).contains("set mimi.weights_path"));
    assert!(message(Some("bundle"), Some("flow_lm"), None).contains("set mimi.weights_path"));
    assert!(message(None, None, Some("codec")).contains("set flow_lm.weights_path"));
    let error = message(Some("bundle"), Some("codec"), Some("codec"));
    assert!(error.contains("flow_lm.bos_before_voice") && error.contains("missing"), "{error}");
}

#[test]
fn addresses_and_missing_files_are_named() {
    let folder = scratch();
    let mut config = Config::from_yaml_str(MINIMAL, "c.yaml").unwrap();
    config.weights_path = Some("hf://kyutai/pocket-tts/model.safetensors@1".to_owned());
    let error = load_weights(&config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().starts_with("weights_path: hf://kyutai"), "{error}");
    let error = load(&folder, Some("absent"), None, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("absent"), "{error}");
}

#[test]
fn messages_name_the_file_of_the_tensor() {
    let weights = load(&scratch(), Some("bundle"), None, Some("codec")).unwrap();
    let error = weights.get("mimi.none", &[1]).unwrap_err().to_string();
    assert!(error.contains("codec"), "{error}");
    let error = weights.get("flow_lm.none", &[1]).unwrap_err().to_string();
    assert!(error.contains("bundle"), "{error}");
}

/// A checkpoint's language model and codec, with names as they are and a tensor of no use.
fn checkpoint(folder: &ScratchFolder, has_codec: bool) -> Checkpoint {
    let write = |name: &str, tensors: &[Tensor]| {
        let mut map = WeightMap::new();
        for tensor in tensors {
            map.insert(tensor.clone());
        }
        folder.write(name, &map.to_bytes().unwrap());
        folder.path(name)
    };
    let flow_lm = write("trained_flow_lm", &[tensor("out_norm.bias", &[7.0])]);
    let mimi = write("trained_codec", &[tensor("encoder.x", &[70.0]), tensor("vq.extra", &[0.0])]);
    Checkpoint { name: "step_7.pt".to_owned(), flow_lm, mimi: has_codec.then_some(mimi) }
}

#[test]
fn a_checkpoint_replaces_the_settings() {
    let folder = scratch();
    let path = |name: &str| Some(folder.path(name).display().to_string());
    // Settings for the bundle and for a codec of its own, and the codec's value with either.
    let cases = [
        (true, None, None, 70.0),
        (false, path("bundle"), None, 5.0),
        (false, path("bundle"), path("codec"), 50.0),
        (false, None, path("codec"), 50.0),
    ];
    for (has_codec, bundle, codec, expected) in cases {
        let mut config = Config::from_yaml_str(MINIMAL, "c.yaml").unwrap();
        config.weights_path = bundle;
        config.mimi.weights_path = codec;
        config.checkpoint = Some(checkpoint(&folder, has_codec));
        let weights = load_weights(&config).unwrap();
        assert_eq!(value(&weights, "flow_lm.out_norm.bias").to_bits(), 7.0_f32.to_bits());
        assert_eq!(value(&weights, "mimi.encoder.x").to_bits(), f32::to_bits(expected));
        checkpoint::finish(&weights, &config).unwrap();
    }
    let mut config = Config::from_yaml_str(MINIMAL, "c.yaml").unwrap();
    config.weights_path = None;
    config.checkpoint = Some(checkpoint(&folder, false));
    assert!(matches!(load_weights(&config), Err(Error::NoWeights)));
}

#[test]
fn a_checkpoint_has_no_tensors_to_spare() {
    let folder = scratch();
    let mut config = Config::from_yaml_str(MINIMAL, "c.yaml").unwrap();
    config.checkpoint = Some(checkpoint(&folder, true));
    let weights = load_weights(&config).unwrap();
    value(&weights, "mimi.encoder.x");
    let error = checkpoint::finish(&weights, &config).unwrap_err().to_string();
    assert!(error.contains("step_7.pt") && error.contains("out_norm.bias"), "{error}");
}
