//! What the pictures show: families of scenes. Within a family every picture is another view of
//! the same kind of thing (other light, pose, colours, background), so that neighbours are plain
//! to see; families differ.
//!
//! A scene takes all its choices from the generator of random numbers that it is given, and
//! measures in units (see [`crate::paint`]), so the same seed gives the same picture at every size.

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

/// A family of scenes.
#[derive(Debug, Clone, Copy)]
pub struct SceneFamily {
    /// What it belongs to; the folder of its pictures.
    pub group: &'static str,
    /// Its name; the start of its pictures' file names.
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

/// All families. The order matters to `run_generate`, which deals pictures to them in turn.
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

/// The family of the given name.
pub fn find_family(name: &str) -> Option<&'static SceneFamily> {
    FAMILIES.iter().find(|family| family.name == name)
}
