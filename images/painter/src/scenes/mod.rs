//! Families of scenes. All pictures of a family show the same kind of thing with other light, pose,
//! colours and background, so that similar pictures are easy to recognise.
//!
//! A scene draws all its choices from the given random number generator and measures in units (see
//! [`crate::paint`]), so the same seed gives the same picture at every size.

mod balloons;
mod blossoms;
mod cat;
mod cup;
mod fish;
mod flowers;
mod fruit;
mod hills;
mod mountains;
mod sky;
mod sunset_sea;
mod table;
mod tiles;
mod vase;
mod waves;

use crate::paint::{Canvas, Random};

#[derive(Debug, Clone, Copy)]
pub struct SceneFamily {
    /// The folder of its pictures.
    pub group: &'static str,
    /// File names of its pictures start with this.
    pub name: &'static str,
    /// Paints one picture of the family.
    pub paint: fn(&mut Canvas, &mut Random),
}

const fn new_family(
    group: &'static str,
    name: &'static str,
    paint: fn(&mut Canvas, &mut Random),
) -> SceneFamily {
    SceneFamily { group, name, paint }
}

/// All families. `lookalike-loadtest generate` assigns pictures to them in turn, so the order matters.
pub const FAMILIES: [SceneFamily; 12] = [
    new_family("still-lifes", "fruit", fruit::paint_fruit_scene),
    new_family("landscapes", "sunset-sea", sunset_sea::paint_sunset_sea),
    new_family("patterns", "tiles", tiles::paint_tiles),
    new_family("objects", "balloons", balloons::paint_balloons),
    new_family("still-lifes", "flower-vase", vase::paint_flower_vase),
    new_family("landscapes", "hills", hills::paint_hills),
    new_family("patterns", "paper-waves", waves::paint_paper_waves),
    new_family("objects", "cat", cat::paint_cat_scene),
    new_family("still-lifes", "cup", cup::paint_cup_scene),
    new_family(
        "landscapes",
        "mountain-lake",
        mountains::paint_mountain_lake,
    ),
    new_family("patterns", "blossoms", blossoms::paint_blossom_pattern),
    new_family("objects", "fish", fish::paint_fish_scene),
];

pub fn find_family(name: &str) -> Option<&'static SceneFamily> {
    FAMILIES.iter().find(|family| family.name == name)
}
