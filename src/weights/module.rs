//! Between a module's parameters and named tensors.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};

use super::{HostTensor, Tensors, abridged};
use crate::device::read;
use crate::error::{Error, Kind, Result};

/// Chooses what to read of a parameter: its value, its gradient, an optimizer's moment.
pub trait Pick {
    /// The tensor that stands for `param`, if there is one.
    fn pick<const D: usize>(&self, param: &Param<Tensor<D>>) -> Option<Tensor<D>>;
}

/// Picks a parameter's value.
pub struct Values;

impl Pick for Values {
    fn pick<const D: usize>(&self, param: &Param<Tensor<D>>) -> Option<Tensor<D>> {
        Some(param.val().inner())
    }
}

/// Picks what a container holds for the parameter, such as its gradient.
pub struct Gradients<'a>(pub &'a GradientsParams);

impl Pick for Gradients<'_> {
    fn pick<const D: usize>(&self, param: &Param<Tensor<D>>) -> Option<Tensor<D>> {
        self.0.get(param.id)
    }
}

/// Reads what `pick` chooses of every parameter, under `prefix` and the parameter's path, in the checkpoints' layout.
///
/// # Errors
/// A device error where a tensor cannot be read back.
pub fn collect<M: Module, P: Pick>(module: &M, prefix: &str, pick: &P) -> Result<Tensors> {
    let mut visitor = Collect { path: vec![prefix.to_owned()], pick, found: Ok(Tensors::new()) };
    module.visit(&mut visitor);
    visitor.found
}

struct Collect<'a, P> {
    path: Vec<String>,
    pick: &'a P,
    found: Result<Tensors>,
}

impl<P: Pick> ModuleVisitor for Collect<'_, P> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let (Ok(found), Some(tensor)) = (&mut self.found, self.pick.pick(param)) else { return };
        let name = join(&self.path);
        match host(tensor) {
            Ok(tensor) => drop(found.insert(name, tensor)),
            Err(error) => self.found = Err(error),
        }
    }
}

fn host<const D: usize>(tensor: Tensor<D>) -> Result<HostTensor> {
    let shape = stored(tensor.dims());
    let tensor = HostTensor { shape, values: read::values(tensor)? };
    Ok(if D == 2 { tensor.transposed() } else { tensor })
}

/// The shape in the checkpoints of a parameter, before a matrix is turned: a kernel of one frame is that of pictures, without
/// the axis of time.
fn stored<const D: usize>(shape: [usize; D]) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if D == 5 && shape[2] == 1 {
        shape.remove(2);
    }
    shape
}

/// Fills every parameter of `module` from `tensors`, where its name is `prefix` and its path.
///
/// # Errors
/// A data error that lists every tensor that is missing, of another shape, or left over under `prefix`.
pub fn load<M: Module>(module: M, prefix: &str, tensors: &Tensors) -> Result<M> {
    let mut mapper =
        Load { path: vec![prefix.to_owned()], tensors, used: Vec::new(), missing: Vec::new(), misshaped: Vec::new() };
    let module = module.map(&mut mapper);
    let Load { used, missing, misshaped, .. } = mapper;
    let under = |name: &&String| prefix.is_empty() || name.starts_with(&format!("{prefix}."));
    let left_over: Vec<String> = tensors.keys().filter(under).filter(|name| !used.contains(name)).cloned().collect();
    if missing.is_empty() && misshaped.is_empty() && left_over.is_empty() {
        return Ok(module);
    }
    let parts = [("missing", missing), ("of another shape", misshaped), ("not expected", left_over)];
    let listed: Vec<String> = parts
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{} {what} ({})", names.len(), abridged(&names)))
        .collect();
    Err(Error::new(Kind::Data, format!("the weights do not fit the model: {}", listed.join(", "))))
}

/// Puts into `container` what `tensors` holds for each parameter of `module`; parameters without a tensor are left out.
///
/// # Errors
/// A data error that names a tensor of another shape than its parameter.
pub fn fill<M: Module>(module: &M, prefix: &str, tensors: &Tensors, container: &mut GradientsParams) -> Result<()> {
    let mut visitor = Fill { path: vec![prefix.to_owned()], tensors, container, misshaped: Vec::new() };
    module.visit(&mut visitor);
    if visitor.misshaped.is_empty() {
        return Ok(());
    }
    let names = abridged(&visitor.misshaped);
    Err(Error::new(Kind::Data, format!("tensors do not fit their parameters: {names}")))
}

struct Fill<'a> {
    path: Vec<String>,
    tensors: &'a Tensors,
    container: &'a mut GradientsParams,
    misshaped: Vec<String>,
}

impl ModuleVisitor for Fill<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = join(&self.path);
        let Some(found) = self.tensors.get(&name) else { return };
        match upload::<D>(found, param.dims(), &param.val().device().inner()) {
            Ok(tensor) => self.container.register(param.id, tensor),
            Err(problem) => self.misshaped.push(format!("{name} {problem}")),
        }
    }
}

/// A tensor on `device`, if it has the parameter's `shape` in the checkpoints' layout.
fn upload<const D: usize>(found: &HostTensor, mut shape: [usize; D], device: &Device) -> Result<Tensor<D>, String> {
    if D == 2 {
        shape.reverse();
    }
    let expected = stored(shape);
    if found.shape != expected && found.shape != shape {
        return Err(format!("{:?} instead of {expected:?}", found.shape));
    }
    if D == 2 {
        shape.reverse();
    }
    let values = if D == 2 { found.transposed().values } else { found.values.clone() };
    Ok(Tensor::from_data(TensorData::new(values, shape), device))
}

struct Load<'a> {
    path: Vec<String>,
    tensors: &'a Tensors,
    used: Vec<String>,
    missing: Vec<String>,
    misshaped: Vec<String>,
}

impl ModuleMapper for Load<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = join(&self.path);
        let Some(found) = self.tensors.get(&name) else {
            self.missing.push(name);
            return param;
        };
        self.used.push(name.clone());
        match upload::<D>(found, param.dims(), &param.val().device()) {
            Ok(value) => {
                let trained = param.is_require_grad();
                let (id, _, mapper) = param.consume();
                Param::from_mapped_value(id, value.set_require_grad(trained), mapper)
            }
            Err(problem) => {
                self.misshaped.push(format!("{name} {problem}"));
                param
            }
        }
    }
}

fn join(path: &[String]) -> String {
    path.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(".")
}
