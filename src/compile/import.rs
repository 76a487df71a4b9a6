//! From what burn records of the model's forward pass to a [`Graph`]: the only code that knows burn's intermediate form.

use std::collections::HashMap;

use burn::backend::Capture;
use burn::backend::ir::{
    ActivationOperationIr, BaseOperationIr, FloatOperationIr, GraphIr, ModuleOperationIr, NumericOperationIr,
    OperationIr, TensorId, TensorIr,
};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};

use super::graph::{Graph, Id, Op};
use super::{Outputs, Take};
use crate::config::{Grid, Layers, ModelConfig, Precision};
use crate::error::{Error, Kind, Result};
use crate::masks::IndexMask;
use crate::model::{Encoder, Gather, Init};

/// The graph of an encoder of `model` over `batch` images, read out as `outputs` says; no weights are made.
///
/// # Errors
/// A failure that names an operation which the compiler does not know; a usage error where tokens are kept and more than
/// the last block is read.
pub fn capture(model: &ModelConfig, batch: usize, outputs: Outputs) -> Result<Graph> {
    if let (Take::Kept(_), 2..) = (outputs.take, outputs.layers) {
        return Err(Error::usage("of an encoder that sees some tokens alone only the last block is read")
            .with_remedy("read one layer"));
    }
    let device = Device::capture();
    let mut known = Known { path: Vec::new(), found: HashMap::new() };
    let mut angles = None;
    let captured = device.capture_scope(|scope| {
        let encoder = Encoder::new(model, Precision::F32, Init::Constant, &device);
        encoder.visit(&mut known);
        angles = encoder.angles().map(<[f32]>::to_vec);
        let [planes, height, width] = model.input_shape();
        // What is recorded is that they are made: a batch of films would fill memory.
        let images = Tensor::<4>::zeros([batch, planes, height, width], &device);
        known.found.extend(id(&images).map(|id| (id, Op::Input)));
        let layers = match outputs.layers {
            1 => Layers::Last,
            count => Layers::LastOf(count),
        };
        let features = match outputs.take {
            Take::Tokens => encoder.forward_layers(images, layers),
            Take::Mean => encoder.forward_layers(images, layers).mean_dim(1),
            Take::Kept(keep) => {
                let mask = IndexMask { batch, keep, indices: vec![0; batch * keep] };
                encoder.forward(images, Some(&Gather::new(&[mask], model.tokens(), &device)))
            }
        };
        scope.complete(None, id(&features))
    });
    let captured =
        captured.map_err(|error| Error::new(Kind::Other, format!("the encoder cannot be captured: {error}")))?;
    if let Some(angles) = angles {
        let Grid { time, side } = model.grid();
        let grid = [time, side, side];
        let same = |values: &TensorData| values.as_slice::<f32>().is_ok_and(|values| values == angles);
        let tables = captured.values.iter().filter(|(_, values)| same(values));
        known.found.extend(tables.map(|(id, _)| (*id, Op::Angles { grid })));
    }
    if let Take::Kept(_) = outputs.take {
        // Nothing else of an encoder is a list of whole numbers.
        let whole = captured.values.iter().filter(|(_, values)| values.dtype().is_int());
        known.found.extend(whole.map(|(id, _)| (*id, Op::Kept)));
    }
    import(&captured.graph, &known.found)
}

/// The recorder's number of a tensor.
fn id<const D: usize>(tensor: &Tensor<D>) -> Option<TensorId> {
    tensor.clone().try_into_primitive::<Capture>().ok().map(|tensor| tensor.id())
}

/// What tensors that exist before anything is computed are; it collects all parameters, by their names.
struct Known {
    path: Vec<String>,
    found: HashMap<TensorId, Op>,
}

impl ModuleVisitor for Known {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.extend(id(&param.val()).map(|id| (id, Op::Parameter(self.path.join(".")))));
    }
}

/// Translates what was recorded; `known` are the tensors that exist before anything is computed.
fn import(recorded: &GraphIr, known: &HashMap<TensorId, Op>) -> Result<Graph> {
    let mut import = Import { graph: Graph::default(), values: HashMap::new(), known };
    for operation in &recorded.operations {
        import.operation(operation)?;
    }
    for output in &recorded.outputs {
        let value = import.values.get(output).copied();
        import.graph.outputs.push(value.ok_or_else(|| broken("an output that nothing computes"))?);
    }
    import.graph.check()?;
    Ok(import.graph)
}

struct Import<'a> {
    graph: Graph,
    values: HashMap<TensorId, Id>,
    known: &'a HashMap<TensorId, Op>,
}

impl Import<'_> {
    fn operation(&mut self, operation: &OperationIr) -> Result<()> {
        use BaseOperationIr as Base;
        match operation {
            OperationIr::Init(init) => self.constant(&init.out),
            OperationIr::BaseFloat(Base::Zeros(new) | Base::Ones(new)) => self.constant(&new.out),
            OperationIr::BaseFloat(Base::Reshape(op)) => self.push(Op::Reshape, &[&op.input], &op.out),
            OperationIr::BaseFloat(Base::Permute(op)) => self.push(Op::Permute(op.axes.clone()), &[&op.input], &op.out),
            OperationIr::BaseFloat(Base::SwapDims(op)) => {
                let mut axes: Vec<usize> = (0..op.input.shape.len()).collect();
                axes.swap(op.dim1, op.dim2);
                self.push(Op::Permute(axes), &[&op.input], &op.out)
            }
            OperationIr::BaseFloat(Base::Slice(op)) => self.slice(op),
            OperationIr::BaseFloat(Base::Flip(op)) => match op.axes[..] {
                [axis] => self.push(Op::Flip(axis), &[&op.input], &op.out),
                _ => Err(unknown(operation)),
            },
            OperationIr::BaseFloat(Base::RepeatDim(op)) => {
                self.push(Op::Repeat { axis: op.dim, times: op.times }, &[&op.tensor], &op.out)
            }
            OperationIr::BaseFloat(Base::Select(op)) if op.dim == 0 => {
                self.push(Op::Gather, &[&op.tensor, &op.indices], &op.out)
            }
            OperationIr::BaseFloat(Base::Cat(op)) => {
                self.push(Op::Concat(op.dim), &op.tensors.iter().collect::<Vec<_>>(), &op.out)
            }
            OperationIr::NumericFloat(_, NumericOperationIr::Add(op)) => {
                self.push(Op::Add, &[&op.lhs, &op.rhs], &op.out)
            }
            OperationIr::NumericFloat(_, NumericOperationIr::Mul(op)) => {
                self.push(Op::Mul, &[&op.lhs, &op.rhs], &op.out)
            }
            OperationIr::NumericFloat(_, NumericOperationIr::MeanDim(op)) => {
                self.push(Op::Mean(op.axis), &[&op.input], &op.out)
            }
            OperationIr::Float(_, FloatOperationIr::Matmul(op)) => self.push(Op::MatMul, &[&op.lhs, &op.rhs], &op.out),
            OperationIr::Activation(ActivationOperationIr::Gelu(op)) => self.push(Op::Gelu, &[&op.input], &op.out),
            OperationIr::Module(module) => self.module(module),
            other => Err(unknown(other)),
        }
    }

    fn module(&mut self, operation: &ModuleOperationIr) -> Result<()> {
        match operation {
            ModuleOperationIr::Linear(op) => {
                let mut shape = axes(&op.x);
                shape.pop();
                shape.extend(axes(&op.weight).pop());
                let Some(bias) = &op.bias else {
                    return self.push(Op::MatMul, &[&op.x, &op.weight], &op.out);
                };
                let inputs = vec![self.value(&op.x)?, self.value(&op.weight)?];
                let product = self.graph.push(Op::MatMul, inputs, shape);
                let bias = self.value(bias)?;
                let sum = self.graph.push(Op::Add, vec![product, bias], axes(&op.out));
                self.values.insert(op.out.id, sum);
                Ok(())
            }
            ModuleOperationIr::LayerNorm(op) => {
                let Some(bias) = &op.beta else { return Err(unknown(operation)) };
                self.push(Op::LayerNorm { eps: op.epsilon.elem() }, &[&op.input, &op.gamma, bias], &op.out)
            }
            ModuleOperationIr::Attention(op) => {
                if op.mask.is_some() || op.attn_bias.is_some() || op.options.is_causal || op.options.softcap.is_some() {
                    return Err(unknown(operation));
                }
                let size = axes(&op.query).pop().unwrap_or(1);
                let scale = op.options.scale.map_or(1.0 / (size as f64).sqrt(), |scale| scale.elem());
                self.push(Op::Attention { scale }, &[&op.query, &op.key, &op.value], &op.out)
            }
            other => Err(unknown(other)),
        }
    }

    fn slice(&mut self, op: &burn::backend::ir::SliceOpIr) -> Result<()> {
        let (from, to) = (axes(&op.tensor), axes(&op.out));
        let mut cut = (0..from.len()).filter(|&axis| from[axis] != to[axis]);
        let (Some(axis), None) = (cut.next(), cut.next()) else { return Err(unknown(op)) };
        let range = &op.ranges[axis];
        let start = usize::try_from(range.start).map_err(|_| unknown(op))?;
        if range.step != 1 {
            return Err(unknown(op));
        }
        self.push(Op::Slice { axis, start, length: to[axis] }, &[&op.tensor], &op.out)
    }

    /// A tensor that exists before anything is computed: the images, a parameter, or what a rule makes.
    fn constant(&mut self, tensor: &TensorIr) -> Result<()> {
        let op = match self.known.get(&tensor.id) {
            Some(op) => op.clone(),
            None => {
                let shape = tensor.shape.as_slice();
                let message = format!(
                    "there is no kernel for a constant of {shape:?} values that is no parameter and has no rule"
                );
                return Err(Error::new(Kind::Other, message).with_remedy("run it with `--engine burn`"));
            }
        };
        self.push(op, &[], tensor)
    }

    fn push(&mut self, op: Op, inputs: &[&TensorIr], out: &TensorIr) -> Result<()> {
        let inputs = inputs.iter().map(|tensor| self.value(tensor)).collect::<Result<_>>()?;
        let value = self.graph.push(op, inputs, axes(out));
        self.values.insert(out.id, value);
        Ok(())
    }

    fn value(&self, tensor: &TensorIr) -> Result<Id> {
        self.values.get(&tensor.id).copied().ok_or_else(|| broken("a value that nothing computes"))
    }
}

fn axes(tensor: &TensorIr) -> Vec<usize> {
    tensor.shape.iter().copied().collect()
}

/// An operation that the compiler cannot translate.
fn unknown(operation: &impl std::fmt::Debug) -> Error {
    let text = format!("{operation:?}");
    // Such as `Float(F32, Exp(UnaryOpIr { .. }))`: what holds the operands comes last, the operation before it.
    let names = text.split('{').next().unwrap_or_default();
    let mut names = names.split(|c: char| !c.is_alphanumeric()).filter(|name| !name.is_empty()).rev();
    let holds = names.next();
    let name = names.next().or(holds).unwrap_or_default();
    Error::new(Kind::Other, format!("the compiler does not know the operation {name}"))
        .with_remedy("run it with `--engine burn`")
}

fn broken(what: &str) -> Error {
    Error::new(Kind::Other, format!("the recorded graph has {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_that_is_no_parameter_and_has_no_rule_is_refused() {
        let device = Device::capture();
        let mut known = HashMap::new();
        let captured = device.capture_scope(|scope| {
            let images = Tensor::<2>::zeros([2, 3], &device);
            let table = Tensor::<2>::from_data(TensorData::new(vec![1f32; 3], [1, 3]), &device);
            known.extend(id(&images).map(|id| (id, Op::Input)));
            let sum = images + table;
            scope.complete(None, id(&sum))
        });
        let error = import(&captured.unwrap().graph, &known).unwrap_err();
        insta::assert_snapshot!(error, @"there is no kernel for a constant of [1, 3] values that is no parameter and has no rule");
    }

    #[test]
    fn an_operation_that_the_compiler_does_not_know_is_named() {
        let said = |compute: fn(Tensor<2>, Tensor<2>) -> Tensor<2>| {
            let device = Device::capture();
            let mut known = HashMap::new();
            let captured = device.capture_scope(|scope| {
                let [x, y] = [(); 2].map(|()| Tensor::<2>::zeros([2, 3], &device));
                known.extend([&x, &y].into_iter().filter_map(id).map(|id| (id, Op::Input)));
                scope.complete(None, id(&compute(x, y)))
            });
            let error = import(&captured.unwrap().graph, &known).unwrap_err();
            assert_eq!(error.remedy(), Some("run it with `--engine burn`"));
            error.to_string()
        };
        let all = [said(|x, y| x - y), said(|x, _| x.exp()), said(|x, _| x.transpose().flip([0, 1]).transpose())];
        insta::assert_snapshot!(all.join("\n"), @"
        the compiler does not know the operation Sub
        the compiler does not know the operation Exp
        the compiler does not know the operation Flip
        ");
    }
}
