//! What is asked of every published backbone.

use dmdr_diffusion::Schedule;
use dmdr_models::{Call, Conditioning, Denoiser, Guidance, View};
use dmdr_tensor::{AdapterId, AdapterPlace, AdapterSpec, Kind, ParamStore, Tensor};

use crate::fixture::{Fixture, device, relative_error};

const SCALE: f64 = 0.75;
const GUIDANCE: f64 = 3.0;
/// Of gradients, in which large terms nearly cancel: MKL's kernels for AVX2 and AVX-512 differ by up to 1.9e-4.
const TOLERANCE: f64 = 5e-4;

/// A published backbone and its fixture.
pub(crate) struct Backbone<'a, N> {
    pub(crate) fixture: &'a Fixture,
    /// Loaded.
    pub(crate) weights: &'a ParamStore,
    /// Where the fixture's adapter goes.
    pub(crate) targets: &'a [&'a str],
    pub(crate) place: AdapterPlace,
    pub(crate) build: &'a dyn Fn(&ParamStore, &[AdapterSpec]) -> N,
    pub(crate) schedule: Schedule,
    pub(crate) cond: Conditioning,
    pub(crate) null: Conditioning,
}

impl<N: Denoiser> Backbone<'_, N> {
    /// Values and gradients, whether activations are kept or computed again; bf16, with weights kept in f32 or not.
    pub(crate) fn agrees(&self) {
        for recomputes in [false, true] {
            let lora = ParamStore::trainable(device(), 0);
            let targets: Vec<String> = self.targets.iter().map(ToString::to_string).collect();
            let specs = [AdapterSpec::new(2, 4.0, &targets, lora.clone()).at(self.place)];
            let store = ParamStore::frozen(device()).with_recomputation(f64::from(recomputes));
            let net = (self.build)(&store, &specs);
            store.copy_from(self.weights);
            let conditions = (&self.cond, self.null.clone());
            check(self.fixture, &net, &lora, self.schedule, conditions);
            assert_eq!(self.keeps_no_weight(&net, &store, &lora), recomputes);
        }
        let half = || ParamStore::frozen(device()).with_compute(Kind::BFloat16);
        let output = |store: &ParamStore| {
            let net = (self.build)(store, &[]);
            store.copy_from(self.weights);
            let (x_t, t) = (self.fixture.get("x_t"), self.fixture.get("t"));
            net.forward(x_t, t, &self.cond, &Call::default())
        };
        let plain = output(&half());
        check_bf16(self.fixture, &plain);
        let compact = half().compact();
        assert!(output(&compact).equal(&plain));
        let kinds = compact.tensors().into_values().map(|tensor| tensor.kind());
        assert!(kinds.into_iter().any(|kind| kind == Kind::BFloat16));
    }

    /// Whether a block's weight can be replaced between the way there and the way back, of which a graph would complain.
    fn keeps_no_weight(&self, net: &N, store: &ParamStore, lora: &ParamStore) -> bool {
        let names = lora.group().names;
        let in_block = |name: &&String| name.contains(".attn") || name.contains(".attention.");
        let pair = names.iter().find(in_block).expect("an attention");
        let layer = match self.place {
            AdapterPlace::Weights => pair.split(".lora_").next().expect("a name").to_owned(),
            AdapterPlace::Outputs => {
                pair.split(".lora.").next().expect("a name").to_owned() + ".qkv"
            }
        };
        let x_t = self.fixture.get("x_t").detach().set_requires_grad(true);
        let call = Call {
            train: true,
            adapters: &[],
            ..Call::default()
        };
        let output = net.forward(&x_t, self.fixture.get("t"), &self.cond, &call);
        let _ = store.tensor(&format!("{layer}.weight")).g_mul_scalar_(1.0);
        Tensor::f_run_backward(&[output.sum(Kind::Float)], &[&x_t], false, false).is_ok()
    }
}

/// A network that computes in bf16 is about as near to f32 as the reference wholly in bf16. A fixed bound would not do:
/// what rounding costs depends on the network, most of all on whether queries and keys are normalised. Twice, because CPUs round differently.
fn check_bf16(fixture: &Fixture, output: &Tensor) {
    assert_eq!(output.kind(), Kind::Float, "the edges are f32");
    let expected = fixture.get("output");
    let error = relative_error(output, expected);
    let reference = relative_error(fixture.get("output_bf16"), expected);
    assert!(
        error > 0.0 && error < 2.0 * reference,
        "bf16: relative error {error:.2e}, the reference's {reference:.2e}"
    );
}

/// Outputs plain and with the adapter, clean predictions guided as methods ask for them (both halves in one batch), and
/// gradients with respect to the input and the whole adapter.
fn check(
    fixture: &Fixture,
    net: &dyn Denoiser,
    lora: &ParamStore,
    schedule: Schedule,
    (cond, null): (&Conditioning, Conditioning),
) {
    fixture.fill(lora, "lora.");
    let x_t = fixture.get("x_t").detach().set_requires_grad(true);
    let t = fixture.get("t");
    let at = |train: bool, scale: f64| {
        let adapters = [(AdapterId(0), scale)];
        let call = Call {
            train,
            adapters: &adapters,
            ..Call::default()
        };
        net.forward(&x_t, t, cond, &call)
    };
    fixture.agrees("output", &at(true, 0.0));
    fixture.agrees("output_lora", &at(true, SCALE));
    fixture.agrees("output_lora", &at(false, SCALE));

    let view = |train| View {
        net,
        schedule,
        adapters: vec![(AdapterId(0), SCALE)],
        train,
        guidance: Some(Guidance {
            scale: GUIDANCE,
            null: null.clone(),
        }),
    };
    fixture.agrees("guided_x0", &view(false).x0_no_grad(&x_t, t, cond));
    gradients_agree(fixture, "grad", &at(true, SCALE), &x_t, lora);
    let guided = view(true).x0(&x_t, t, cond);
    gradients_agree(fixture, "grad_guided", &guided, &x_t, lora);
}

/// Gradients of `output` with respect to `x_t` and the whole adapter, which the fixture has under `head`.
fn gradients_agree(
    fixture: &Fixture,
    head: &str,
    output: &Tensor,
    x_t: &Tensor,
    lora: &ParamStore,
) {
    let group = lora.group();
    let mut inputs = vec![x_t.shallow_clone()];
    inputs.extend(group.tensors.iter().map(Tensor::shallow_clone));
    let product = (output * fixture.get("cotangent")).sum(Kind::Float);
    let gradients = Tensor::run_backward(&[product], &inputs, false, false);
    fixture.compare(&format!("{head}.x_t"), &gradients[0], 0.0, TOLERANCE);
    let largest = gradients[1..]
        .iter()
        .map(|gradient| gradient.abs().max().double_value(&[]))
        .fold(0.0, f64::max);
    for (name, gradient) in group.names.iter().zip(&gradients[1..]) {
        let name = format!("{head}.lora.{name}");
        if fixture.get(&name).abs().max().double_value(&[]) == 0.0 {
            assert!(gradient.equal(fixture.get(&name)), "{name}");
        } else {
            fixture.compare(&name, gradient, 0.01 * largest, TOLERANCE);
        }
    }
}
