//! Chance with a seed: the same seed, the same choices. What the machine does meanwhile is its own.

use std::env;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Numbers that look random.
pub struct Dice(u64);

impl Dice {
    /// Returns dice with the seed in `LANDFALL_SEED`, or a new one, and prints how to repeat it.
    pub fn new() -> Self {
        let given = env::var("LANDFALL_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed: u64 = given.unwrap_or_else(|| u64::from(now.subsec_nanos()) ^ (now.as_secs() << 20));
        eprintln!("to repeat these choices: LANDFALL_SEED={seed}");
        Self(seed | 1)
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        // splitmix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// Returns a time below `end`.
    pub fn time_below(&mut self, end: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(end.as_micros()).unwrap()))
    }
}
