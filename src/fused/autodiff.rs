//! The fused operations under automatic differentiation, each with its backward pass.

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Flex};

use super::{Fused, attention, gelu, linear, norm};

#[derive(Debug)]
struct Gelu;

impl Backward<Flex, 1> for Gelu {
    /// `x`.
    type State = NodeId;

    fn backward(self, ops: Ops<NodeId, 1>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let x = checkpointer.retrieve_node_output::<FlexTensor>(ops.state);
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            grads.register::<Flex>(parent.id, gelu::backward(x, grad));
        }
    }
}

#[derive(Debug)]
struct Linear;

impl Backward<Flex, 3> for Linear {
    /// `x` where the weight learns, and the weight where `x` has a gradient.
    type State = [Option<NodeId>; 2];

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let [x, weight] = ops.state.map(|id| id.map(|id| checkpointer.retrieve_node_output::<FlexTensor>(id)));
        let [x_parent, weight_parent, bias_parent] = ops.parents;
        if let Some(parent) = bias_parent {
            grads.register::<Flex>(parent.id, linear::bias_backward(&grad));
        }
        if let (Some(parent), Some(x)) = (weight_parent, x) {
            grads.register::<Flex>(parent.id, linear::weight_backward(&x, &grad));
        }
        if let (Some(parent), Some(weight)) = (x_parent, weight) {
            grads.register::<Flex>(parent.id, linear::x_backward(&weight, &grad));
        }
    }
}

#[derive(Debug)]
struct Norm;

impl Backward<Flex, 3> for Norm {
    /// `x`, the gain, and epsilon.
    type State = (NodeId, NodeId, f32);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let (x, gain, eps) = ops.state;
        let x = checkpointer.retrieve_node_output::<FlexTensor>(x);
        let gain = checkpointer.retrieve_node_output::<FlexTensor>(gain);
        let parts = norm::backward(&x, &gain, grad, eps);
        for (parent, part) in ops.parents.into_iter().zip(parts) {
            if let Some(parent) = parent {
                grads.register::<Flex>(parent.id, part);
            }
        }
    }
}

#[derive(Debug)]
struct Attention;

impl Backward<Flex, 1> for Attention {
    /// `qkv`, the logarithm of each query's sum, and the number of heads.
    type State = (NodeId, Vec<f32>, usize);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let (qkv, log_sums, heads) = ops.state;
        let qkv = checkpointer.retrieve_node_output::<FlexTensor>(qkv);
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            grads.register::<Flex>(parent.id, attention::backward(&qkv, &log_sums, &grad, heads));
        }
    }
}

impl<C: CheckpointStrategy> Fused for Autodiff<Flex, C> {
    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        match Gelu.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = prep.checkpoint(&x);
                let y = gelu::forward(x.primitive().clone());
                prep.finish(state, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(gelu::forward(x.into_primitive())),
        }
    }

    fn fused_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        let y = linear::forward(x.primitive(), weight.primitive(), bias.primitive());
        match Linear.prepare::<C>([x.node(), weight.node(), bias.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = [
                    weight.is_tracked().then(|| prep.checkpoint(&x)),
                    x.is_tracked().then(|| prep.checkpoint(&weight)),
                ];
                prep.finish(state, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn fused_norm(
        x: FloatTensor<Self>,
        gain: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        let y = norm::forward(x.primitive(), gain.primitive(), bias.primitive(), eps);
        match Norm.prepare::<C>([x.node(), gain.node(), bias.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = (prep.checkpoint(&x), prep.checkpoint(&gain), eps);
                prep.finish(state, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn fused_attention(qkv: FloatTensor<Self>, heads: usize) -> FloatTensor<Self> {
        let (mixed, log_sums) = attention::forward(qkv.primitive(), heads);
        match Attention.prepare::<C>([qkv.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let state = (prep.checkpoint(&qkv), log_sums, heads);
                prep.finish(state, mixed)
            }
            OpsKind::UnTracked(prep) => prep.finish(mixed),
        }
    }
}
