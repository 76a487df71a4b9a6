//! Every variant passes naga's validation, and becomes SPIR-V, MSL and HLSL.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use anyjepa::compile::wgsl::{self, MATMUL_TILES, Matrices, Shader, Side, Tile, permutations};
use anyjepa::compile::{Dtype, Epilogue, Kernel};
use naga::back::{PipelineConstants, hlsl, msl, pipeline_constants, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage};

use crate::device::dtypes;

const STAGE: ShaderStage = ShaderStage::Compute;
/// The newest versions that no device of WebGPU's lacks: Vulkan 1.1, Metal 2, and DirectX 12's first with f16.
const SPIRV: (u8, u8) = (1, 3);
const MSL: (u8, u8) = (2, 0);
/// What a validator says that does not know the capability of cooperative matrices.
const UNKNOWN: &str = "Invalid capability operand: 6022";
/// Metal's first with matrix units.
const MSL_MATRICES: (u8, u8) = (2, 3);
const HLSL: hlsl::ShaderModel = hlsl::ShaderModel::V6_2;

/// Every tile of 16-bit products: those of all GPUs, and those of GPUs with matrix units.
fn half_tiles() -> Vec<Tile> {
    let by = |side| Tile::cooperative(Matrices { side, subgroup: 32 });
    [&MATMUL_TILES[..], &by(Side::Eight), &by(Side::Sixteen)].concat()
}

/// Whether a variant needs matrix units, and of which size.
fn cooperative(name: &str) -> Option<Side> {
    let by = |side| name.starts_with(side);
    by("matmul_by8_").then_some(Side::Eight).or(by("matmul_by16_").then_some(Side::Sixteen))
}

/// A shader of every variant, with the number of its operands.
fn shaders() -> Vec<(Shader, usize)> {
    let mut cases = Vec::new();
    let product = |k: usize, epilogue: Epilogue| {
        let table = if epilogue.row(768) > 0 { 196 } else { 0 };
        Kernel::Matmul { m: 392, k, n: 768, epilogue, table }
    };
    let rotation = Epilogue::Rotation { size: 64 };
    for epilogue in [Epilogue::Bias, Epilogue::Gelu, Epilogue::Residual, Epilogue::Position, rotation] {
        cases.extend(half_tiles().into_iter().map(|tile| (product(768, epilogue), Some(tile))));
        cases.push((product(49, epilogue), None));
    }
    let attention = |batch, size| Kernel::Attention { batch, tokens: 196, heads: 12, size, scale: 0.125 };
    cases.extend([32, 64, 128].map(|size| (attention(2, size), None)));
    cases.extend([6, 24, 32, 48, 64, 80, 88, 100, 104, 128, 160].map(|size| (attention(8, size), None)));
    cases.push((Kernel::Norm { rows: 392, dim: 768, eps: 1e-6, stride: 1536, column: 768 }, None));
    let (height, width) = (224, 224);
    let patchify = Kernel::Patchify { batch: 2, channels: 3, frames: 16, height, width, tubelet: 2, patch: 16 };
    cases.push((patchify, None));
    cases.push((Kernel::Gather { from: 392, rows: 140, dim: 768 }, None));
    cases.push((Kernel::Pool { batch: 2, tokens: 196, dim: 768 }, None));
    let mut shaders = Vec::new();
    for half in [false, true] {
        for (kernel, tile) in &cases {
            if half && matches!(kernel, Kernel::Gather { .. } | Kernel::Pool { .. }) {
                continue;
            }
            if !half && tile.is_some_and(|tile| !MATMUL_TILES.contains(&tile)) {
                continue;
            }
            let stored = dtypes(kernel, half);
            shaders.push((wgsl::shader(kernel, &stored, *tile).unwrap(), stored.len()));
        }
    }
    // Products of 16 bits that begin the residual stream.
    for (k, tile) in half_tiles().into_iter().map(|tile| (768, Some(tile))).chain([(49, None)]) {
        let stored = [Dtype::F16, Dtype::F16, Dtype::F32, Dtype::F32];
        shaders.push((wgsl::shader(&product(k, Epilogue::Bias), &stored, tile).unwrap(), stored.len()));
    }
    shaders
}

/// The module with its sizes filled in, validated with what the target can.
fn module(shader: &Shader) -> (Module, ModuleInfo) {
    let name = &shader.permutation;
    let parsed = naga::front::wgsl::parse_str(&shader.source);
    let parsed = parsed.unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&shader.source)));
    let mut can = if name.contains("f16") { Capabilities::SHADER_FLOAT16 } else { Capabilities::empty() };
    if cooperative(name).is_some() {
        can |= Capabilities::COOPERATIVE_MATRIX | Capabilities::SUBGROUP;
    }
    let info = Validator::new(ValidationFlags::all(), can).validate(&parsed);
    let info = info.unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(&shader.source)));
    let constants: PipelineConstants = shader.constants.iter().map(|(name, value)| ((*name).into(), *value)).collect();
    let filled = pipeline_constants::process_overrides(&parsed, &info, Some((STAGE, "main")), &constants);
    let (module, info) = filled.unwrap_or_else(|error| panic!("{name}: {error}"));
    (module.into_owned(), info.into_owned())
}

fn workgroup_bytes(module: &Module) -> u32 {
    let own = module.global_variables.iter().filter(|(_, variable)| variable.space == AddressSpace::WorkGroup);
    own.map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx())).sum()
}

fn bindings(module: &Module) -> usize {
    module.global_variables.iter().filter(|(_, variable)| variable.binding.is_some()).count()
}

#[test]
fn every_variant_is_valid_and_as_large_as_it_says() {
    let mut rows = BTreeSet::new();
    for (shader, operands) in shaders() {
        let (module, _) = module(&shader);
        let name = &shader.permutation;
        let threads: u32 = module.entry_points[0].workgroup_size.iter().product();
        assert_eq!(workgroup_bytes(&module), shader.workgroup_bytes, "bytes of {name}");
        assert_eq!(threads, shader.threads, "threads of {name}");
        assert_eq!(bindings(&module), operands, "bindings of {name}");
        // GPUs with matrix units have twice the memory that WebGPU promises, and more.
        let bytes = if cooperative(name).is_some() { 32_768 } else { 16_384 };
        assert!(threads <= 256 && shader.workgroup_bytes <= bytes && operands <= 8, "{name} exceeds WebGPU's limits");
        let head =
            shader.constants.iter().find(|(name, _)| *name == "SIZE" && shader.permutation.starts_with("attention"));
        let name = head.map_or_else(|| name.clone(), |(_, size)| format!("{name}, size {size}"));
        rows.insert(format!("{name:32} {operands:8} {:8} {threads:8}", shader.workgroup_bytes));
    }
    let seen: BTreeSet<String> = shaders().into_iter().map(|(shader, _)| shader.permutation).collect();
    let listed: BTreeSet<String> = permutations().map(|permutation| permutation.name.to_owned()).collect();
    assert_eq!(seen, listed, "the variants that kernels are given, and those of shaders/permutations");
    let rows: Vec<String> = rows.into_iter().collect();
    insta::assert_snapshot!(format!("{:32} bindings    bytes  threads\n{}", "variant", rows.join("\n")));
}

#[test]
fn every_variant_becomes_msl_and_hlsl_but_these() {
    let mut excluded = Vec::new();
    for (shader, _) in shaders() {
        let (module, info) = module(&shader);
        let name = &shader.permutation;
        let matrices = cooperative(name);
        let lang_version = if matrices.is_some() { MSL_MATRICES } else { MSL };
        let options = msl::Options { lang_version, ..Default::default() };
        // Metal has matrices of 8 by 8 alone, which naga does not look at.
        if matrices == Some(Side::Sixteen) {
            excluded.push(format!("MSL: {name}"));
        } else {
            let written = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default());
            written.unwrap_or_else(|error| panic!("{name} cannot be written as MSL: {error}"));
        }
        let options = hlsl::Options { shader_model: HLSL, ..Default::default() };
        let mut text = String::new();
        let pipeline = hlsl::PipelineOptions::default();
        match hlsl::Writer::new(&mut text, &options, &pipeline).write(&module, &info, None) {
            Ok(written) => {
                assert!(matrices.is_none(), "{name} can be written as HLSL");
                assert!(written.entry_point_names.iter().all(Result::is_ok), "{name}: {:?}", written.entry_point_names);
            }
            // DirectX has matrices, but naga does not write them.
            Err(error) => {
                assert!(matrices.is_some(), "{name} cannot be written as HLSL: {error}");
                excluded.push(format!("HLSL: {name}"));
            }
        }
    }
    insta::assert_snapshot!(excluded.join("\n"));
}

#[test]
fn every_variant_becomes_spirv_that_its_validator_accepts() {
    let skip = std::env::var("ANYJEPA_TEST_SPIRV").is_ok_and(|value| value == "skip");
    if skip {
        crate::gpu::say("SKIPPED: ANYJEPA_TEST_SPIRV=skip, so spirv-val has not seen the shaders");
    }
    for (shader, _) in shaders() {
        let (module, info) = module(&shader);
        let name = &shader.permutation;
        let options = spv::Options { lang_version: SPIRV, ..Default::default() };
        let entry = spv::PipelineOptions { shader_stage: STAGE, entry_point: "main".into() };
        let words = spv::write_vec(&module, &info, &options, Some(&entry));
        let words = words.unwrap_or_else(|error| panic!("{name} cannot be written as SPIR-V: {error}"));
        if !skip {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            if let Err(said) = accepted(&bytes) {
                if cooperative(name).is_some() && said.contains(UNKNOWN) {
                    let older = "this spirv-val is older than cooperative matrices";
                    crate::gpu::say(&format!("SKIPPED: {older} and has not seen {name}"));
                    continue;
                }
                panic!("spirv-val refuses {name}: {said}");
            }
        }
    }
}

/// What spirv-val says against a module.
fn accepted(bytes: &[u8]) -> Result<(), String> {
    let child = Command::new("spirv-val")
        .args(["--target-env", "vulkan1.1", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| {
        panic!("spirv-val cannot be run ({error}): scripts/test installs it, ANYJEPA_TEST_SPIRV=skip does without")
    });
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}

#[test]
fn the_final_text_of_some_variants_is_known() {
    for name in [
        "matmul_64x64_gelu_f32",
        "matmul_64x64_rotation_f16",
        "matmul_by16_128x128_gelu_f16",
        "attention_to64_f16",
        "norm_f16",
        "patchify_f32",
    ] {
        let permutation = permutations().find(|permutation| permutation.name == name).unwrap();
        insta::assert_snapshot!(name, permutation.source().unwrap());
    }
}
