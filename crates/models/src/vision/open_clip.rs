//! Weights of CLIP under open_clip's names (3.3.0, `model.py` and `transformer.py`) under those of transformers.
//!
//! The networks are the same. open_clip packs queries, keys and values in one matrix, and multiplies by its projections
//! from the left.

use std::collections::BTreeMap;

use dmdr_tensor::Tensor;

/// Beginnings of names.
const PLACES: [(&str, &str); 10] = [
    (
        "visual.class_embedding",
        "vision_model.embeddings.class_embedding",
    ),
    (
        "visual.positional_embedding",
        "vision_model.embeddings.position_embedding.weight",
    ),
    ("visual.conv1.", "vision_model.embeddings.patch_embedding."),
    ("visual.ln_pre.", "vision_model.pre_layrnorm."),
    ("visual.ln_post.", "vision_model.post_layernorm."),
    (
        "visual.transformer.resblocks.",
        "vision_model.encoder.layers.",
    ),
    ("token_embedding.", "text_model.embeddings.token_embedding."),
    (
        "positional_embedding",
        "text_model.embeddings.position_embedding.weight",
    ),
    ("ln_final.", "text_model.final_layer_norm."),
    ("transformer.resblocks.", "text_model.encoder.layers."),
];
/// Layers of a block.
const LAYERS: [(&str, &str); 5] = [
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".attn.out_proj.", ".self_attn.out_proj."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
];
/// Projections to the shared space.
const PROJECTIONS: [(&str, &str); 2] = [
    ("visual.proj", "visual_projection.weight"),
    ("text_projection", "text_projection.weight"),
];

/// The tensors of an open_clip model as [`ClipVision`](super::ClipVision) and the text tower ask for them. One that
/// open_clip's CLIP does not have keeps its name, and a strict load refuses it.
pub fn from_open_clip(tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let translate = |(name, tensor)| translate(name, tensor);
    tensors.into_iter().flat_map(translate).collect()
}

fn translate(name: String, tensor: Tensor) -> Vec<(String, Tensor)> {
    if let Some((_, own)) = PROJECTIONS.iter().find(|(theirs, _)| *theirs == name) {
        return vec![((*own).to_owned(), tensor.transpose(0, -1))];
    }
    let place = PLACES
        .iter()
        .find_map(|(theirs, own)| Some((name.strip_prefix(theirs)?, own)));
    let Some((rest, own)) = place else {
        return vec![(name, tensor)];
    };
    let name = LAYERS
        .iter()
        .fold(format!("{own}{rest}"), |name, (theirs, own)| {
            name.replace(theirs, own)
        });
    match name.split_once(".attn.in_proj_") {
        None => vec![(name, tensor)],
        Some((block, kind)) => ["q", "k", "v"]
            .into_iter()
            .zip(tensor.chunk(3, 0))
            .map(|(part, tensor)| (format!("{block}.self_attn.{part}_proj.{kind}"), tensor))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::{Device, Kind};

    use super::*;

    #[test]
    fn packed_projections_are_divided_and_unknown_names_kept() {
        let range = |count: i64, shape: &[i64]| {
            Tensor::arange(count, (Kind::Float, Device::Cpu)).reshape(shape)
        };
        let theirs = BTreeMap::from([
            (
                "transformer.resblocks.3.attn.in_proj_bias".to_owned(),
                range(6, &[6]),
            ),
            ("visual.proj".to_owned(), range(6, &[2, 3])),
            ("visual.attn_pool.query".to_owned(), range(1, &[1])),
        ]);
        let own = from_open_clip(theirs);
        assert_eq!(own.len(), 5);
        for (start, part) in [(0.0, "q"), (2.0, "k"), (4.0, "v")] {
            let name = format!("text_model.encoder.layers.3.self_attn.{part}_proj.bias");
            let values = Vec::<f32>::try_from(&own[&name]).expect("f32");
            assert_eq!(values, [start, start + 1.0]);
        }
        let projection = &own["visual_projection.weight"];
        assert_eq!(projection.size(), [3, 2]);
        assert!((projection.double_value(&[2, 1]) - 5.0).abs() < 1e-9);
        assert!(own.contains_key("visual.attn_pool.query"));
    }
}
