//! Runs on a Vulkan driver, also one that emulates a GPU: `.ci/gpu` provides it.

use std::sync::Mutex;

use burn::tensor::{DType, Device, Tensor, TensorData};

use super::{
    backends::vulkan, network::DeviceNetwork, request::DeviceKind, select::BUILT_KINDS, *,
};
use crate::{
    Architecture, BUNDLED_MODEL, Settings,
    model::{golden::cosine_similarity, weights::Weights},
    network::{Executor, Network, Precision},
};

fn gpu_name(index: usize) -> DeviceName {
    DeviceName {
        kind: DeviceKind::Vulkan,
        index,
    }
}

fn settings(device: &str) -> Settings {
    Settings {
        device: device.to_owned(),
        ..Settings::default()
    }
}

/// Draws pictures that differ in all pixels.
fn draw_pictures(bytes: usize, count: usize) -> Vec<Input> {
    (0..count)
        .map(|picture| {
            let pixels = (0..bytes).map(|i| (i * (picture + 3) / 5 % 256) as u8);
            pixels.collect()
        })
        .collect()
}

/// Computes a tensor from its name and shape, small enough that deep networks stay finite.
fn random_tensor(name: &str, shape: &[usize]) -> Vec<f32> {
    let mut state = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let is_product = matches!(shape.len(), 2 | 4);
    let fan_in: usize = shape.iter().skip(1).product();
    let scale = if is_product {
        (6.0 / fan_in as f32).sqrt()
    } else {
        0.25
    };
    let is_positive = name.contains("var") || (!is_product && name.ends_with("weight"));
    (0..shape.iter().product())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let number = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
            if is_positive {
                1.0 + number * 0.25
            } else {
                number * scale
            }
        })
        .collect()
}

/// Creates a registered model with random weights. Its input is small, because a driver that emulates
/// a GPU is slow; a transformer has only two blocks.
fn random_model(name: &str) -> Model {
    let mut description = Description::find_bundled(name).unwrap();
    let mut weights = Weights::by_formula(random_tensor);
    let mut side = 64;
    if let Some(tower) = &mut description.vision {
        tower.shape.depth = 2;
        side = tower.patch * 4;
        // With registers, the class token has no position.
        let positions = if tower.registers == 0 { 17 } else { 16 };
        let shape = [1, positions, tower.shape.width];
        weights.insert_tensor("pos_embed", &shape, random_tensor("pos_embed", &shape));
    }
    let side = side as u32;
    description.input = [3, side, side];
    description.preprocessing.crop = [side, side];
    Model {
        description,
        weights: weights.into(),
        tokenizer: None,
        golden: None,
    }
}

fn efficientnet_lite() -> Model {
    let mut model = random_model("mobilenetv2");
    model.description.architecture = Some(Architecture::EfficientNetLite);
    model.description.name = "efficientnet-lite".to_owned();
    model
}

fn burn_executor(device: Device) -> Executor {
    Executor::Burn {
        device,
        precision: Precision::F32,
    }
}

/// Batches of which a driver runs different programs.
const BATCHES: [usize; 3] = [1, 2, 4];

/// Time for a device to reach a state. Emulated devices are slow.
const STATE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1200);

/// Compares the network on the first adapter with the CPU, number by number.
fn check_network(model: &Model) {
    let name = &model.description.name;
    let cpu = Network::from_model(model, &burn_executor(Device::flex())).unwrap();
    let (gpu, _) = vulkan::open_gpu(0).unwrap();
    let network = Network::from_model(model, &burn_executor(gpu.device)).unwrap();
    let worst_of = |batch: usize| {
        let pixels = draw_pictures(model.description.input_bytes(), batch).concat();
        let worst = max_difference(
            &cpu.forward(&pixels, batch),
            &network.forward(&pixels, batch),
        );
        eprintln!("{name}, batch {batch}, on {}: off by {worst:e}", gpu.name);
        worst
    };
    let worst = BATCHES.map(worst_of);
    assert!(worst.iter().all(|worst| *worst < 1e-4), "{name}: {worst:?}");
}

fn max_difference(expected: &[f32], actual: &[f32]) -> f32 {
    assert_eq!(expected.len(), actual.len());
    let differences = expected.iter().zip(actual).map(|(a, b)| (a - b).abs());
    // Unlike `f32::max`, finds a NaN.
    differences.fold(0.0, |worst, d| if d <= worst { worst } else { d })
}

/// Matrix products of many rows are computed in tiles that a work group shares. A driver or compiler
/// that places that memory wrongly computes wrong products of every size, and fuses them with wrong
/// sums.
#[test]
#[ignore = "needs a Vulkan driver"]
fn matrix_products_equal_the_cpu() {
    let (gpu, _) = vulkan::open_gpu(0).unwrap();
    let product = |device: &Device, [rows, inputs, outputs]: [usize; 3], has_bias: bool| {
        let tensor = |name: &str, shape: [usize; 2]| {
            let data = TensorData::new(random_tensor(name, &shape), shape);
            Tensor::<2>::from_data(data, (device, DType::F32))
        };
        let product = tensor("rows", [rows, inputs]).matmul(tensor("weights", [inputs, outputs]));
        let result = match has_bias {
            true => product + tensor("bias", [1, outputs]),
            false => product,
        };
        result.into_data().try_to_vec::<f32>().unwrap()
    };
    for shape in [
        [1, 256, 384],
        [2, 32, 32],
        [2, 256, 384],
        [5, 48, 40],
        [17, 32, 96],
        [64, 64, 64],
    ] {
        for has_bias in [false, true] {
            let expected = product(&Device::flex(), shape, has_bias);
            let worst = max_difference(&expected, &product(&gpu.device, shape, has_bias));
            eprintln!("product {shape:?}, bias {has_bias}: off by {worst:e}");
            assert!(worst < 1e-4, "{shape:?}, bias {has_bias}: off by {worst}");
        }
    }
}

macro_rules! network_tests {
    ($($test:ident: $model:expr;)*) => { $(
        #[test]
        #[ignore = "needs a Vulkan driver"]
        fn $test() {
            check_network(&$model);
        }
    )* };
}

fn tiny_model(name: &str) -> Model {
    Model::load(&format!("{}/reference/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

network_tests! {
    mini_equals_the_cpu: Model::load(BUNDLED_MODEL).unwrap();
    resnet34_equals_the_cpu: random_model("resnet34");
    resnet50_equals_the_cpu: random_model("resnet50");
    mobilenetv2_equals_the_cpu: random_model("mobilenetv2");
    efficientnet_lite_equals_the_cpu: efficientnet_lite();
    vit_equals_the_cpu: random_model("vit-s16");
    dinov2_with_registers_equals_the_cpu: random_model("dinov2-s14-reg");
    clip_equals_the_cpu: tiny_model("tiny-clip");
    siglip_equals_the_cpu: tiny_model("tiny-siglip");
}

#[tokio::test]
#[ignore = "needs a Vulkan driver"]
async fn a_named_adapter_computes_the_golden_vector_and_texts() {
    let model = tiny_model("tiny-clip");
    let gpu = Engine::start(&model, &settings("vulkan:0")).unwrap();
    let cpu = Engine::start(&model, &settings("cpu")).unwrap();
    eprintln!("{}", gpu.describe_device());
    assert!(gpu.describe_device().contains(" on vulkan:0: "));
    let texts = vec!["a photo of a cat".to_owned(), "two dogs".to_owned()];
    let vectors = [
        gpu.embed_text(texts.clone()).await.unwrap(),
        cpu.embed_text(texts).await.unwrap(),
    ];
    for (gpu_vector, cpu_vector) in vectors[0].iter().zip(&vectors[1]) {
        assert!(cosine_similarity(gpu_vector, cpu_vector) > 0.999);
    }
}

#[test]
#[ignore = "needs a Vulkan driver"]
fn devices_that_are_not_there_are_listed() {
    let model = Model::load(BUNDLED_MODEL).unwrap();
    let error = Engine::start(&model, &settings("vulkan:0,vulkan:99")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("there is no vulkan:99"), "{text}");
    assert!(text.contains("use one of: auto, cpu, vulkan:0 ("), "{text}");
}

#[test]
#[ignore = "needs a Vulkan driver"]
fn auto_takes_no_software_adapter() {
    let found = backends::list_gpus();
    eprintln!("{found:?}");
    assert!(!found.is_empty());
    let chosen = select::choose_devices("auto", &found, BUILT_KINDS, true).unwrap();
    let is_software = |name: &DeviceName| {
        let gpu = found.iter().find(|gpu| gpu.name == *name);
        gpu.is_some_and(|gpu| gpu.class == select::GpuClass::Software)
    };
    assert!(!chosen.members.iter().any(is_software), "{chosen:?}");
}

/// A GPU and the CPU in one pool both embed, and their vectors agree.
#[tokio::test]
#[ignore = "needs a Vulkan driver"]
async fn a_gpu_and_the_cpu_share_the_work() {
    let model = Arc::new(tiny_model("tiny-clip"));
    let engine = Engine::start(&model, &settings("vulkan:0,cpu")).unwrap();
    eprintln!("{}", engine.describe_device());
    let work = PoolWork::new(&model);
    work.embed_until(&engine, |statuses| {
        statuses.iter().all(|status| status.embedded > 0)
    })
    .await;
    let names: Vec<String> = engine
        .device_statuses()
        .into_iter()
        .map(|status| status.device)
        .collect();
    assert_eq!(names, ["vulkan:0", "cpu"]);
}

/// Two logical devices on the first adapter share the work. One is destroyed during it: no image is
/// lost, and the device is opened again.
#[tokio::test]
#[ignore = "needs a Vulkan driver"]
async fn a_device_that_is_lost_under_work_is_replaced() {
    let model = Arc::new(tiny_model("tiny-clip"));
    let work = PoolWork::new(&model);
    let check = DeviceCheck::new(&model.description, model.golden.clone());
    let handles: [Arc<Mutex<Vec<_>>>; 2] = Default::default();
    let openers = handles.iter().enumerate().map(|(index, handles)| {
        let handles = Arc::clone(handles);
        let on_open = move |handle| handles.lock().unwrap().push(handle);
        let opener = vulkan::opener_on_adapter(gpu_name(index), 0, &model, on_open);
        (opener, false)
    });
    let plan = PoolPlan {
        openers: openers.collect(),
        check: check.with_reference(&work.reference).unwrap(),
        needs_member: true,
        reason: "for tests".to_owned(),
        batch_images: 2,
        limits: PoolLimits {
            retry_delay: Duration::from_millis(100),
            max_retry_delay: Duration::from_millis(100),
            batch_timeout: Duration::from_secs(120),
            max_queued_queries: 64,
            max_queued_images: 64,
        },
    };
    let engine = Engine::start_pool(model.description.clone(), plan).unwrap();
    eprintln!("{}", engine.describe_device());
    work.embed_until(&engine, |statuses| {
        statuses.iter().all(|status| status.embedded > 0)
    })
    .await;
    let opened_before = handles[0].lock().unwrap().len();
    let lose = async {
        // The images are in the queue, or on a device.
        for handle in handles[0].lock().unwrap().iter() {
            handle.destroy();
        }
    };
    tokio::join!(work.embed_pictures(&engine, 24), lose);
    // The loss is noticed with the next batch at the latest.
    work.embed_until(&engine, |_| {
        handles[0].lock().unwrap().len() > opened_before
    })
    .await;
    eprintln!("{:?}", engine.device_statuses());
    let embedded = engine.device_statuses()[0].embedded;
    work.embed_until(&engine, |statuses| {
        statuses[0].state == DeviceState::Ready && statuses[0].embedded > embedded
    })
    .await;
    eprintln!("{:?}", engine.device_statuses());
}

/// Pictures with the vectors that the CPU computes.
struct PoolWork {
    reference: DeviceNetwork,
    pictures: Vec<Input>,
    expected: Vec<Vec<f32>>,
}

impl PoolWork {
    fn new(model: &Arc<Model>) -> Self {
        let cpu = CpuNetwork::new(model, CpuKernels::Flex).unwrap();
        let reference = cpu.open().unwrap();
        let pictures = draw_pictures(model.description.input_bytes(), 24);
        let expected = pictures
            .iter()
            .map(|picture| reference.embed_image(picture).unwrap())
            .collect();
        Self {
            reference,
            pictures,
            expected,
        }
    }

    /// Embeds pictures; no vector may be missing or wrong.
    async fn embed_pictures(&self, engine: &Engine, count: usize) {
        let pictures = self.pictures[..count].to_vec();
        let vectors = engine.embed_images(pictures).await.unwrap();
        assert_eq!(vectors.len(), count);
        for (expected, vector) in self.expected.iter().zip(&vectors) {
            let similarity = cosine_similarity(expected, vector);
            assert!(similarity > 0.999, "{similarity}");
        }
    }

    async fn embed_until(&self, engine: &Engine, is_done: impl Fn(&[DeviceStatus]) -> bool) {
        let embed = async {
            while !is_done(&engine.device_statuses()) {
                self.embed_pictures(engine, 8).await;
            }
        };
        tokio::time::timeout(STATE_TIMEOUT, embed).await.unwrap();
    }
}
