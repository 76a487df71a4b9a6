//! From a recognised graph to a plan: one dispatch a node, and memory that is used again once it is dead.

use super::plan::{Buffer, BufferId, Dispatch, Dtype, Kernel, Plan, Role};
use super::{Epilogue, Graph, Id, Op};
use crate::error::{Error, Kind, Result};

/// The plan of `graph`, with weights and most values stored as `dtype`.
///
/// What LayerNorm reads and what leaves the encoder is always of 32 bits, and so are vectors. bfloat16 is for weights
/// alone: what is multiplied with them is rounded on its way.
///
/// # Errors
/// A failure that names a node for which there is no kernel.
pub fn schedule(graph: &Graph, dtype: Dtype) -> Result<Plan> {
    let mut schedule = Schedule {
        graph,
        dtype,
        places: vec![None; graph.nodes.len()],
        last_reads: last_reads(graph),
        slots: Slots::default(),
        plan: Plan { batch: 0, dtype, buffers: Vec::new(), dispatches: Vec::new() },
    };
    for i in 0..graph.nodes.len() {
        schedule.node(Id(i))?;
        schedule.free(i);
    }
    schedule.finish()
}

struct Schedule<'a> {
    graph: &'a Graph,
    dtype: Dtype,
    places: Vec<Option<BufferId>>,
    /// The last node that reads each value; reshapes count as reading until they are read themselves.
    last_reads: Vec<usize>,
    slots: Slots,
    plan: Plan,
}

/// Scratch memory, and who holds it.
#[derive(Default)]
struct Slots {
    /// Bytes of each slot, and the buffer that holds it.
    slots: Vec<(usize, Option<BufferId>)>,
}

impl Slots {
    /// The free slot that fits `bytes` best: the smallest that is large enough, or the largest.
    fn take(&mut self, bytes: usize, holder: BufferId) -> usize {
        let free = (0..self.slots.len()).filter(|&slot| self.slots[slot].1.is_none());
        let best = free.min_by_key(|&slot| {
            let size = self.slots[slot].0;
            (size < bytes, size.abs_diff(bytes))
        });
        let slot = best.unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() - 1
        });
        self.slots[slot] = (self.slots[slot].0.max(bytes), Some(holder));
        slot
    }

    fn release(&mut self, holder: BufferId) {
        self.slots.iter_mut().filter(|slot| slot.1 == Some(holder)).for_each(|slot| slot.1 = None);
    }
}

impl Schedule<'_> {
    fn node(&mut self, id: Id) -> Result<()> {
        let node = self.graph.node(id);
        let inputs = &node.inputs;
        match &node.op {
            Op::Angles { grid } => {
                self.place(id, "angles".into(), Role::Angles { grid: *grid }, Dtype::F32);
                Ok(())
            }
            Op::Parameter(_) | Op::Permute(_) if self.weight(id).is_some() => Ok(()),
            Op::Reshape if self.weight(id).is_some() => Ok(()),
            Op::Input => {
                self.plan.batch = node.shape.first().copied().unwrap_or(0);
                self.place(id, "images".into(), Role::Input, Dtype::F32);
                Ok(())
            }
            Op::Kept => {
                self.place(id, "kept rows".into(), Role::Kept, Dtype::U32);
                Ok(())
            }
            Op::Reshape => {
                self.places[id.0] = self.places[inputs[0].0];
                Ok(())
            }
            Op::Concat(axis) if axis + 1 == node.shape.len() => Ok(()), // its parts write to where it stands
            Op::Patchify { tubelet, patch } => {
                let ([batch, planes, height, width], [.., row]) = (self.graph.shape(inputs[0]), &node.shape[..]) else {
                    return self.lost(id);
                };
                let (batch, height, width, tubelet, patch) = (*batch, *height, *width, *tubelet, *patch);
                let channels = row / (tubelet * patch * patch);
                let frames = planes / channels;
                let kernel = Kernel::Patchify { batch, channels, frames, height, width, tubelet, patch };
                self.dispatch(id, "patchify".into(), kernel, &[inputs[0]])
            }
            Op::Gather => {
                let ([above @ .., dim], [rows]) = (self.graph.shape(inputs[0]), self.graph.shape(inputs[1])) else {
                    return self.lost(id);
                };
                let kernel = Kernel::Gather { from: above.iter().product(), rows: *rows, dim: *dim };
                let angles = matches!(self.graph.node(inputs[0]).op, Op::Angles { .. });
                let label = if angles { "gather.angles" } else { "gather" };
                self.dispatch(id, label.into(), kernel, &[inputs[0], inputs[1]])
            }
            Op::LayerNorm { eps } => self.norm(id, *eps),
            Op::Linear(epilogue) => self.linear(id, *epilogue),
            Op::SelfAttention { heads, scale } => {
                let [batch, tokens, width] = node.shape[..] else { return self.lost(id) };
                let kernel =
                    Kernel::Attention { batch, tokens, heads: *heads, size: width / heads, scale: *scale as f32 };
                let label = self.label(inputs[0]).trim_end_matches(".qkv").to_owned();
                self.dispatch(id, label, kernel, &[inputs[0]])
            }
            Op::Mean(1) => {
                let [batch, tokens, dim] = self.graph.shape(inputs[0])[..] else { return self.lost(id) };
                self.dispatch(id, "pool".into(), Kernel::Pool { batch, tokens, dim }, &[inputs[0]])
            }
            _ => self.lost(id),
        }
    }

    fn norm(&mut self, id: Id, eps: f64) -> Result<()> {
        let node = self.graph.node(id);
        let dim = node.shape.last().copied().unwrap_or(1);
        let rows = node.shape.iter().product::<usize>() / dim.max(1);
        let (whole, column) = self.within(id);
        let stride = self.graph.shape(whole).last().copied().unwrap_or(dim);
        let label = self.label(node.inputs[1]);
        let kernel = Kernel::Norm { rows, dim, eps: eps as f32, stride, column };
        let operands = node.inputs.clone();
        self.dispatch(whole, label, kernel, &operands)
    }

    /// The value in which `id` stands as some columns, and the first of them: itself, or what it is joined to.
    fn within(&self, id: Id) -> (Id, usize) {
        let joins = |node: &super::Node| matches!(node.op, Op::Concat(axis) if axis + 1 == node.shape.len());
        let concat = self.graph.nodes.iter().position(|node| joins(node) && node.inputs.contains(&id));
        let Some(concat) = concat else { return (id, 0) };
        let parts = self.graph.nodes[concat].inputs.iter().take_while(|&&part| part != id);
        (Id(concat), parts.filter_map(|&part| self.graph.shape(part).last()).sum())
    }

    fn linear(&mut self, id: Id, epilogue: Epilogue) -> Result<()> {
        let node = self.graph.node(id);
        let [k, n] = self.graph.shape(node.inputs[1])[..] else { return self.lost(id) };
        let m = node.shape.iter().product::<usize>() / n.max(1);
        let table = match (epilogue.row(n), node.inputs.get(3)) {
            (row @ 1.., Some(table)) => self.graph.shape(*table).iter().product::<usize>() / row,
            _ => 0,
        };
        let kernel = Kernel::Matmul { m, k, n, epilogue, table };
        let label = self.label(node.inputs[1]);
        if epilogue != Epilogue::Residual {
            return self.dispatch(id, label, kernel, &node.inputs.clone());
        }
        // The stream is added to where it stands, so nothing may read its old values any more.
        let stream = node.inputs[3];
        if self.last_reads[stream.0] > id.0 {
            return self.lost(id);
        }
        let operands = node.inputs[..3].iter().map(|&input| self.operand(input)).collect::<Result<Vec<_>>>()?;
        let place = self.operand(stream)?;
        self.places[id.0] = Some(place);
        self.plan.dispatches.push(Dispatch { label, kernel, operands: [operands, vec![place]].concat() });
        Ok(())
    }

    /// Adds a dispatch that writes the value `id`, and makes its buffer where there is none yet.
    fn dispatch(&mut self, id: Id, label: String, kernel: Kernel, inputs: &[Id]) -> Result<()> {
        let mut operands = inputs.iter().map(|&input| self.operand(input)).collect::<Result<Vec<_>>>()?;
        let place = match self.places[id.0] {
            Some(place) => place,
            None => {
                let (role, dtype) = self.storage(id);
                self.place(id, label.clone(), role, dtype)
            }
        };
        operands.push(place);
        self.plan.dispatches.push(Dispatch { label, kernel, operands });
        Ok(())
    }

    /// The buffer of a value or of a constant.
    fn operand(&mut self, id: Id) -> Result<BufferId> {
        if let Some(place) = self.places[id.0] {
            return Ok(place);
        }
        let Some((parameter, transposed)) = self.weight(id) else {
            return Err(lost(self.graph, id));
        };
        // Vectors are small, and 16 bits are few for them.
        let matrix = self.graph.shape(id).len() == 2;
        let dtype = if matrix { self.dtype } else { Dtype::F32 };
        let role = Role::Weight { parameter: parameter.clone(), transposed };
        Ok(self.place(id, parameter, role, dtype))
    }

    /// The parameter behind `id` and whether the checkpoints hold its transpose: they hold linear layers as
    /// `[output, input]`, and the kernel of the patch embedding with its outputs first.
    fn weight(&self, id: Id) -> Option<(String, bool)> {
        let node = self.graph.node(id);
        match &node.op {
            Op::Parameter(name) => Some((name.clone(), node.shape.len() == 2)),
            Op::Reshape => self.weight(node.inputs[0]).filter(|(_, transposed)| !transposed),
            Op::Permute(axes) if axes[..] == [1, 0] => {
                self.weight(node.inputs[0]).map(|(name, transposed)| (name, !transposed))
            }
            _ => None,
        }
    }

    fn place(&mut self, id: Id, label: String, role: Role, dtype: Dtype) -> BufferId {
        let place = BufferId(self.plan.buffers.len());
        let shape = self.graph.shape(id).to_vec();
        let mut buffer = Buffer { label, role, shape, dtype };
        if let Role::Scratch { .. } = buffer.role {
            buffer.role = Role::Scratch { slot: self.slots.take(buffer.bytes(), place) };
        }
        self.plan.buffers.push(buffer);
        self.places[id.0] = Some(place);
        place
    }

    /// Where a computed value is kept, and as what.
    fn storage(&self, id: Id) -> (Role, Dtype) {
        let behind = |output: Id| super::passes::bare(self.graph, output);
        if self.graph.outputs.iter().any(|&output| behind(output) == id) {
            return (Role::Output, Dtype::F32);
        }
        let between = if self.dtype == Dtype::Bf16 { Dtype::F32 } else { self.dtype };
        let nodes = &self.graph.nodes;
        let narrow = nodes.iter().filter(|node| node.inputs.contains(&id)).all(|node| match node.op {
            Op::SelfAttention { .. } => true,
            Op::Linear(_) => node.inputs[0] == id && node.inputs.iter().filter(|&&input| input == id).count() == 1,
            _ => false,
        });
        (Role::Scratch { slot: 0 }, if narrow { between } else { Dtype::F32 })
    }

    /// Frees the memory of values that node `i` was the last to read.
    fn free(&mut self, i: usize) {
        for value in 0..=i {
            let Some(place) = self.places[value].filter(|_| self.last_reads[value] == i) else { continue };
            // The residual stream and reshaped values go on in the same buffer.
            let goes_on = |other: usize| self.places[other] == Some(place) && self.last_reads[other] > i;
            if !(0..self.graph.nodes.len()).any(goes_on) {
                self.slots.release(place);
            }
        }
    }

    /// The name of the layer to which a parameter belongs, or of the layer that made a value.
    fn label(&self, id: Id) -> String {
        if let Some((parameter, _)) = self.weight(id) {
            return parameter.trim_end_matches(".weight").to_owned();
        }
        let place = self.places[id.0];
        place.map(|place| self.plan.buffers[place.0].label.clone()).unwrap_or_default()
    }

    fn lost<T>(&self, id: Id) -> Result<T> {
        Err(lost(self.graph, id))
    }

    fn finish(self) -> Result<Plan> {
        let plan = self.plan;
        if plan.input().is_none() || plan.output().is_none() || self.graph.outputs.len() != 1 {
            return Err(Error::new(Kind::Other, "the graph is not one from images to features"));
        }
        Ok(plan)
    }
}

/// The last node that reads each value; outputs are read at the very end.
fn last_reads(graph: &Graph) -> Vec<usize> {
    let mut last: Vec<usize> = (0..graph.nodes.len()).collect();
    for (i, node) in graph.nodes.iter().enumerate() {
        node.inputs.iter().for_each(|id| last[id.0] = i);
    }
    graph.outputs.iter().for_each(|id| last[id.0] = graph.nodes.len());
    last
}

fn lost(graph: &Graph, id: Id) -> Error {
    let node = graph.node(id);
    Error::new(Kind::Other, format!("there is no kernel for %{}, {} -> {:?}", id.0, node.op, node.shape))
        .with_remedy("run it with `--engine burn`")
}
