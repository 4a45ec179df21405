//! Every pass keeps the result and does what it is for.

use burn::tensor::Device;

use super::*;
use crate::{
    model::{towers::Activation, weights::Weights},
    network::{
        burn_executor::{BurnExecutor, Precision},
        graph::{
            NodeId,
            builder::GraphBuilder,
            operations::{GraphOperation, GraphShape, RowPosition, SlidingWindow},
        },
    },
};

const SIDE: usize = 16;

/// Numbers that depend on the name and the position.
fn make_tensor(name: &str, shape: &[usize]) -> Vec<f32> {
    let seed: usize = name.bytes().map(usize::from).sum();
    (0..shape.iter().product())
        .map(|i: usize| {
            let number = ((i * 7919 + seed * 104_729) % 1009) as f32 / 1009.0;
            match name.rsplit('.').next() {
                Some("running_var") => number + 0.5,
                _ => number - 0.5,
            }
        })
        .collect()
}

fn formula_weights() -> Weights {
    Weights::by_formula(make_tensor)
}

fn run_graph(graph: Graph) -> Vec<f32> {
    let pixels: Vec<u8> = (0..2 * SIDE * SIDE * 3)
        .map(|i| (i * 37 % 251) as u8)
        .collect();
    BurnExecutor::new(graph, &Device::flex(), Precision::F32).run_images(&pixels, 2)
}

/// Asserts that a pass changes the result by no more than rounding.
#[track_caller]
fn assert_same_result(before: &Graph, after: &Graph) {
    let (before, after) = (run_graph(before.clone()), run_graph(after.clone()));
    assert_eq!(before.len(), after.len());
    let largest = before.iter().fold(0.0, |max, x| f32::max(max, x.abs()));
    for (a, b) in before.iter().zip(&after) {
        assert!((a - b).abs() <= 1e-5 * largest, "{a} became {b}");
    }
}

fn names(graph: &Graph) -> Vec<&'static str> {
    graph
        .nodes()
        .iter()
        .map(|node| match node.operation {
            GraphOperation::Pixels { .. } => "pixels",
            GraphOperation::Conv(_) => "conv",
            GraphOperation::Linear(_) => "linear",
            GraphOperation::Scale(_) => "scale",
            GraphOperation::Activation(_) => "activation",
            GraphOperation::Add => "add",
            GraphOperation::GlobalAverage => "average",
            GraphOperation::Tokens { .. } => "tokens",
            GraphOperation::LayerNorm(_) => "norm",
            GraphOperation::Attention { .. } => "attention",
            GraphOperation::SelectRow(_) => "select",
            _ => "other",
        })
        .collect()
}

fn begin(weights: &Weights) -> (GraphBuilder<'_>, NodeId) {
    let mut builder = GraphBuilder::new(weights);
    let input = builder
        .pixels(SIDE, [0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
        .unwrap();
    (builder, input)
}

/// A residual block whose input is read three times.
fn block_graph(weights: &Weights) -> Graph {
    let (mut builder, input) = begin(weights);
    let stem = builder
        .conv(input, "stem", 8, SlidingWindow::padded(3, 2))
        .unwrap();
    let normed = builder.batch_norm(stem, "stem_bn", 1e-3).unwrap();
    let map = builder.activation(normed, Activation::Relu6).unwrap();
    let filtered = builder
        .depthwise_conv(map, "dw", SlidingWindow::padded(5, 1))
        .unwrap();
    let filtered = builder.batch_norm(filtered, "dw_bn", 1e-5).unwrap();
    let sum = builder.add(map, filtered).unwrap();
    let map = builder.activation(sum, Activation::Relu).unwrap();
    let row = builder.global_average(map).unwrap();
    builder.finish_unoptimised(row).unwrap()
}

#[test]
fn scales_fold_into_the_layer_before() {
    let weights = formula_weights();
    let graph = block_graph(&weights);
    let folded = fold::fold_scales(graph.clone()).unwrap();
    assert!(!names(&folded).contains(&"scale"));
    assert_same_result(&graph, &folded);

    // A convolution with another reader must keep its result.
    let (mut builder, input) = begin(&weights);
    let conv = builder
        .conv(input, "stem", 4, SlidingWindow::padded(3, 1))
        .unwrap();
    let normed = builder.batch_norm(conv, "stem_bn", 1e-5).unwrap();
    let sum = builder.add(normed, conv).unwrap();
    let row = builder.global_average(sum).unwrap();
    let graph = builder.finish_unoptimised(row).unwrap();
    let folded = fold::fold_scales(graph.clone()).unwrap();
    assert_eq!(names(&folded), names(&graph));
    assert_same_result(&graph, &folded);
}

#[test]
fn folded_numbers_must_be_finite() {
    let weights = Weights::by_formula(|name, shape| {
        let number = if name.ends_with("weight") { 1e30 } else { 0.5 };
        vec![number; shape.iter().product()]
    });
    let (mut builder, input) = begin(&weights);
    let conv = builder
        .conv(input, "stem", 4, SlidingWindow::padded(3, 1))
        .unwrap();
    let normed = builder.batch_norm(conv, "stem_bn", 1e-5).unwrap();
    let row = builder.global_average(normed).unwrap();
    let error = builder.finish(row).unwrap_err();
    assert_eq!(
        error,
        "stem with stem_bn contains numbers that are not finite"
    );
}

#[test]
fn sums_and_activations_fuse_into_the_layer_before() {
    let weights = formula_weights();
    let graph = fold::fold_scales(block_graph(&weights)).unwrap();
    let fused = fuse::fuse_into_products(graph.clone());
    assert_eq!(names(&fused), ["pixels", "conv", "conv", "average"]);
    let GraphOperation::Conv(last) = &fused.nodes()[2].operation else {
        panic!("a convolution");
    };
    assert_eq!(last.activation, Some(Activation::Relu));
    assert_eq!(fused.nodes()[2].inputs.len(), 2);
    assert_same_result(&graph, &fused);
}

#[test]
fn a_shared_or_activated_layer_does_not_take_a_sum() {
    let weights = formula_weights();
    let (mut builder, input) = begin(&weights);
    let conv = builder
        .conv(input, "a", 4, SlidingWindow::padded(3, 1))
        .unwrap();
    let active = builder.activation(conv, Activation::Gelu).unwrap();
    // `conv` has two readers, and the sum follows the activation.
    let other = builder
        .conv(conv, "b", 4, SlidingWindow::padded(1, 1))
        .unwrap();
    let other = builder.activation(other, Activation::QuickGelu).unwrap();
    let sum = builder.add(other, active).unwrap();
    let row = builder.global_average(sum).unwrap();
    let graph = builder.finish_unoptimised(row).unwrap();
    let fused = fuse::fuse_into_products(graph.clone());
    assert_eq!(
        names(&fused),
        ["pixels", "conv", "activation", "conv", "add", "average"]
    );
    assert_same_result(&graph, &fused);
}

/// Two blocks of a transformer, the second without its MLP, of which the first row is read.
fn transformer_graph(weights: &Weights) -> Graph {
    let (mut builder, input) = begin(weights);
    let map = builder
        .conv(input, "patch", 8, SlidingWindow::without_padding(4, 4))
        .unwrap();
    let (prefix, positions) = (make_tensor("cls", &[8]), make_tensor("pos", &[16, 8]));
    let mut rows = builder.tokens(map, "pos", prefix, positions).unwrap();
    for block in ["0", "1"] {
        let normed = builder
            .layer_norm(rows, &format!("{block}.n1"), 1e-6)
            .unwrap();
        let qkv = builder.linear(normed, &format!("{block}.qkv"), 24).unwrap();
        let attended = builder.attention(qkv, 2, false).unwrap();
        let branch = builder
            .linear(attended, &format!("{block}.proj"), 8)
            .unwrap();
        let branch = builder.layer_scale(branch, &format!("{block}.ls")).unwrap();
        rows = builder.add(rows, branch).unwrap();
        let normed = builder
            .layer_norm(rows, &format!("{block}.n2"), 1e-6)
            .unwrap();
        let wide = builder.linear(normed, &format!("{block}.fc1"), 32).unwrap();
        let wide = builder.activation(wide, Activation::GeluTanh).unwrap();
        let branch = builder.linear(wide, &format!("{block}.fc2"), 8).unwrap();
        rows = builder.add(rows, branch).unwrap();
    }
    let rows = builder.layer_norm(rows, "norm", 1e-6).unwrap();
    let class = builder.select_row(rows, RowPosition::First).unwrap();
    builder.finish_unoptimised(class).unwrap()
}

#[test]
fn a_row_is_selected_right_after_the_last_attention() {
    let weights = formula_weights();
    let graph = transformer_graph(&weights);
    let selected = select::select_rows_early(graph.clone()).unwrap();
    assert_same_result(&graph, &selected);
    let attention = names(&selected)
        .iter()
        .rposition(|name| *name == "attention")
        .unwrap();
    // After it, only the selected row of the residual and of the attention's result is computed.
    for node in &selected.nodes()[attention + 1..] {
        assert!(
            matches!(node.shape, GraphShape::Rows { rows: 1, .. }),
            "{}",
            node.name
        );
    }
    assert_eq!(
        names(&selected)
            .iter()
            .filter(|name| **name == "select")
            .count(),
        2
    );
    // The first block computes all rows.
    assert!(
        selected.nodes()[..attention]
            .iter()
            .any(|node| node.name == "0.fc2" && node.shape != selected.shape(selected.output()))
    );

    let optimised = optimise(graph.clone()).unwrap();
    assert_same_result(&graph, &optimised);
    for name in ["scale", "activation", "add"] {
        assert!(!names(&optimised).contains(&name), "{name}");
    }
}

#[test]
fn unread_operations_are_removed() {
    let weights = formula_weights();
    let (mut builder, input) = begin(&weights);
    let read = builder
        .conv(input, "a", 4, SlidingWindow::padded(3, 1))
        .unwrap();
    let unread = builder
        .conv(read, "b", 4, SlidingWindow::padded(3, 1))
        .unwrap();
    let row = builder.global_average(read).unwrap();
    builder.global_average(unread).unwrap();
    let graph = builder.finish_unoptimised(row).unwrap();
    let pruned = prune::remove_unread(graph.clone()).unwrap();
    assert_eq!(names(&pruned), ["pixels", "conv", "average"]);
    assert_same_result(&graph, &pruned);
}

#[test]
fn operations_refuse_inputs_that_do_not_fit() {
    let weights = formula_weights();
    let (mut builder, input) = begin(&weights);
    let error = builder.layer_norm(input, "norm", 1e-6).unwrap_err();
    assert_eq!(error, "norm cannot read a map of 16 x 16 with 3 channels");
    let conv = builder
        .conv(input, "a", 4, SlidingWindow::padded(3, 1))
        .unwrap();
    let error = builder.add(conv, input).unwrap_err();
    assert!(error.contains("4 channels and a map"), "{error}");
    let window = SlidingWindow::without_padding(17, 1);
    assert!(builder.max_pool(conv, window).is_err());
    assert!(builder.finish(conv).unwrap_err().contains("one row"));
}

#[test]
fn same_padding_is_that_of_tensorflow() {
    for (side, kernel, stride, before, after) in [
        (224, 3, 2, 0, 1),
        (225, 3, 2, 1, 1),
        (56, 5, 2, 1, 2),
        (65, 5, 2, 2, 2),
        (7, 3, 1, 1, 1),
        (8, 1, 2, 0, 0),
    ] {
        let padding = SlidingWindow::same(kernel, stride, side, side).padding;
        assert_eq!(
            (padding.top, padding.bottom),
            (before, after),
            "{side} {kernel} {stride}"
        );
        assert_eq!((padding.left, padding.right), (before, after));
    }
}
