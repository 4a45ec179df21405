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
pub struct Family {
    /// What it belongs to; the folder of its pictures.
    pub group: &'static str,
    /// Its name; the start of its pictures' file names.
    pub name: &'static str,
    /// Paints one picture of the family.
    pub paint: fn(&mut Canvas, &mut Random),
}

const fn family(
    group: &'static str,
    name: &'static str,
    paint: fn(&mut Canvas, &mut Random),
) -> Family {
    Family { group, name, paint }
}

/// All families. The order matters to `generate`, which deals pictures to them in turn.
pub const FAMILIES: [Family; 12] = [
    family("still-lifes", "fruit", fruit::paint),
    family("landscapes", "sunset-sea", sunset_sea::paint),
    family("patterns", "tiles", tiles::paint),
    family("objects", "balloons", balloons::paint),
    family("still-lifes", "flower-vase", vase::paint),
    family("landscapes", "hills", hills::paint),
    family("patterns", "paper-waves", waves::paint),
    family("objects", "cat", cat::paint),
    family("still-lifes", "cup", cup::paint),
    family("landscapes", "mountain-lake", mountains::paint),
    family("patterns", "blossoms", blossoms::paint),
    family("objects", "fish", fish::paint),
];

/// The family of the given name.
pub fn named(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}
