//! The two unsafe calls: our own shaders without the checks that wgpu adds to shaders of strangers, and what wgpu calls
//! experimental.

use wgpu::{Device, ExperimentalFeatures, ShaderModule, ShaderModuleDescriptor, ShaderRuntimeChecks};

/// A shader without checks of bounds and of endless loops.
#[expect(unsafe_code, reason = "checks of bounds cost a shader a good part of its speed")]
pub fn module(device: &Device, description: ShaderModuleDescriptor<'_>) -> ShaderModule {
    // SAFETY: only variants that stand in shaders/permutations come here. Their loops end, they divide by sizes that
    // are never 0, and their indices lie within operands whose sizes `runtime::check` has compared with the kernel's;
    // tests run each of them with checks and odd sizes over poisoned memory, the cooperative ones only where the adapter
    // lists matrix units.
    unsafe { device.create_shader_module_trusted(description, ShaderRuntimeChecks::unchecked()) }
}

/// Leave to ask a device for what wgpu calls experimental: the matrix units.
#[expect(unsafe_code, reason = "wgpu gives its matrix units to nobody else")]
pub fn experimental() -> ExperimentalFeatures {
    // SAFETY: of all such features only cooperative matrices are asked for, and only `shaders/shared/cooperative.wgsl` uses
    // them: in control flow that is the same for all threads, on memory of the workgroup alone and within its arrays. The
    // variants are validated by naga and spirv-val, and a device's results are compared before they are relied on.
    unsafe { ExperimentalFeatures::enabled() }
}
