//! What a file of an adapter may hold besides pairs of two factors, by the names that tools give it.

/// A part of a tensor's name, or its end if there is a dot before it, and what it tells.
const FORMS: [(&str, &str); 24] = [
    (
        "lora_magnitude_vector",
        "DoRA, which scales the rows of weights as well",
    ),
    (
        "dora_scale",
        "DoRA, which scales the rows of weights as well",
    ),
    ("hada_", "LoHa, a product of two pairs"),
    ("lokr_", "LoKr, a Kronecker product"),
    ("lora_mid", "a convolution's LoRA of three factors (Tucker)"),
    ("oft_", "OFT, a rotation of weights"),
    ("boft_", "BOFT, a rotation of weights"),
    (
        "lora_E",
        "AdaLoRA, which has singular values between its pairs",
    ),
    (
        "lora_diag",
        "KaSA, which has singular values between its pairs",
    ),
    ("lora_embedding", "a LoRA of an embedding"),
    ("vera_lambda", "VeRA, which has random factors"),
    (
        "lora_QA",
        "an adapter behind projections, a form of this program's",
    ),
    ("ia3_", "IA3, which scales activations"),
    (".on_input", "IA3, which scales activations"),
    (".a1.weight", "GLoRA, of two pairs"),
    (".diff", "a whole difference of weights"),
    (".diff_b", "a whole difference of weights"),
    ("set_weight", "a whole weight"),
    (".w_norm", "a norm that was trained as well"),
    (".b_norm", "a norm that was trained as well"),
    ("reshape_weight", "a weight of another shape"),
    (".scalar", "LyCORIS's trained factor"),
    ("modules_to_save", "a whole layer that was trained as well"),
    ("emb_params", "an embedding, as of textual inversion"),
];

/// What the tensor `name`, which is no part of a pair, is, and what to do about it.
pub(super) fn what(name: &str) -> String {
    const ONLY_PAIRS: &str = "only pairs of two factors can be imported";
    let is_bias = ["lora_B.bias", "lora_up.bias", "lora.up.bias"]
        .iter()
        .any(|end| name.ends_with(end));
    if is_bias {
        return format!("the bias of a pair (`lora_bias`); {ONLY_PAIRS}");
    }
    let is_named = |part: &str| {
        if part.starts_with('.') {
            name.ends_with(part)
        } else {
            name.contains(part)
        }
    };
    if let Some((_, form)) = FORMS.iter().find(|(part, _)| is_named(part)) {
        return format!("part of {form}; {ONLY_PAIRS}");
    }
    if matches!(name.rsplit_once('.'), Some((_, "weight" | "bias"))) {
        return format!(
            "a whole weight or bias, as a network or PEFT's `modules_to_save` has it; {ONLY_PAIRS}"
        );
    }
    format!("no part of a pair; {ONLY_PAIRS}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_by_name() {
        for (name, expected) in [
            ("transformer.x.to_q.lora_magnitude_vector", "DoRA"),
            ("lora_unet_x_to_q.dora_scale", "DoRA"),
            ("lora_unet_x_to_q.hada_w1_a", "LoHa"),
            ("lora_unet_x_to_q.lokr_w2", "LoKr"),
            ("lora_unet_x_conv.lora_mid.weight", "Tucker"),
            ("base_model.model.x.to_q.lora_B.bias", "lora_bias"),
            (
                "base_model.model.proj_out.modules_to_save.weight",
                "trained as well",
            ),
            ("base_model.model.proj_out.weight", "whole weight"),
            (
                "transformer_blocks.0.context_embedder.weight",
                "whole weight",
            ),
            ("lora_unet_x.diff_b", "difference"),
            ("emb_params", "embedding"),
        ] {
            let found = what(name);
            assert!(found.contains(expected), "{name}: {found}");
            assert!(found.contains("only pairs"), "{name}: {found}");
        }
    }
}
