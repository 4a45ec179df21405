//! Prints how long files take to decode for a network: `decode_speed SHORT_SIDE ROUNDS FILE…`.

use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = || {
        arguments
            .next()
            .ok_or("a number is missing")?
            .parse::<u32>()
            .map_err(Box::from)
    };
    let (short_side, rounds): (u32, u32) = match (number(), number()) {
        (Ok(short_side), Ok(rounds)) => (short_side, rounds),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    let limits = lookalike_vision::Limits::default();
    for path in arguments {
        let file = std::fs::read(&path)?;
        let mut best = Duration::MAX;
        for _ in 0..rounds {
            let start = Instant::now();
            let result = lookalike_vision::decode_image(&file, short_side, &limits);
            best = best.min(start.elapsed());
            if let Err(error) = result {
                println!("{path}: {error}");
                break;
            }
        }
        println!("{:>8.2} ms {path}", best.as_secs_f64() * 1000.0);
    }
    Ok(())
}
