//! The wire types of package `lookalike.v1`, which prost generates from
//! `lookalike/v1/lookalike.proto`.

include!(concat!(env!("OUT_DIR"), "/lookalike.v1.rs"));
