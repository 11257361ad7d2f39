//! Which reward models belong to which world.

use crate::reward::RewardModel;
use crate::world::World;

/// Whether a model can score what is drawn there.
pub(super) fn is_of_world(model: &RewardModel, world: &World) -> bool {
    match (model, world) {
        (RewardModel::Remote(_) | RewardModel::Vlm(_), _) => true,
        (RewardModel::Dino(_), world) => matches!(world, World::Classes(_)),
        (RewardModel::Aesthetic(_), world) => !matches!(world, World::Preset(_)),
        (model, World::Preset(_)) => model.is_emoji(),
        (model, World::Prompts(_)) => !model.is_emoji(),
        (_, World::Classes(_)) => false,
    }
}
