//! Compiles our own shaders without the checks that wgpu adds to shaders of strangers: the one unsafe call.

use wgpu::{Device, ShaderModule, ShaderModuleDescriptor, ShaderRuntimeChecks};

/// A shader without checks of bounds and of endless loops.
#[expect(unsafe_code, reason = "checks of bounds cost a shader a good part of its speed")]
pub fn module(device: &Device, description: ShaderModuleDescriptor<'_>) -> ShaderModule {
    // SAFETY: only variants that stand in shaders/permutations come here. Their loops end, they divide by sizes that
    // are never 0, and their indices lie within operands whose sizes `runtime::check` has compared with the kernel's;
    // tests run each of them with checks and odd sizes over poisoned memory.
    unsafe { device.create_shader_module_trusted(description, ShaderRuntimeChecks::unchecked()) }
}
