//! How long simulated answers take.

use std::{f64::consts::TAU, str::FromStr, time::Duration};

use rand::{RngExt, rngs::SmallRng};

/// A distribution of latencies. As text: `20ms`, `10ms..200ms`, or `lognormal:2s,0.6`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Latency {
    /// Always the same.
    Fixed(Duration),
    /// Evenly between two bounds.
    Uniform {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// Like real models: most a little below the mean, a few far above.
    LogNormal {
        /// The mean.
        mean: Duration,
        /// The spread of the logarithm; 0.6 is common.
        sigma: f64,
    },
}

impl Default for Latency {
    fn default() -> Self {
        Latency::Fixed(Duration::ZERO)
    }
}

impl Latency {
    /// Draws one.
    pub(super) fn draw(self, rng: &mut SmallRng) -> Duration {
        match self {
            Latency::Fixed(latency) => latency,
            Latency::Uniform { min, max } => min + (max - min).mul_f64(rng.random()),
            Latency::LogNormal { mean, sigma } => {
                // Box–Muller; 1 − u keeps the logarithm finite.
                let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
                let normal = radius * (TAU * rng.random::<f64>()).cos();
                mean.mul_f64((sigma * normal - sigma * sigma / 2.0).exp())
            }
        }
    }

    pub(super) fn check(self) -> Result<(), &'static str> {
        match self {
            Latency::Uniform { min, max } if min > max => {
                Err("the shortest latency is above the longest")
            }
            Latency::LogNormal { sigma, .. } if !(0.0..=3.0).contains(&sigma) => {
                Err("the latency's sigma is not between 0 and 3")
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for Latency {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected 20ms, 10ms..200ms or lognormal:2s,0.6";
        let duration = |text: &str| humantime::parse_duration(text.trim()).map_err(|_| EXPECTED);
        let latency = if let Some(rest) = text.strip_prefix("lognormal:") {
            let (mean, sigma) = rest.split_once(',').ok_or(EXPECTED)?;
            Latency::LogNormal {
                mean: duration(mean)?,
                sigma: sigma.trim().parse().map_err(|_| EXPECTED)?,
            }
        } else if let Some((min, max)) = text.split_once("..") {
            Latency::Uniform {
                min: duration(min)?,
                max: duration(max)?,
            }
        } else {
            Latency::Fixed(duration(text)?)
        };
        latency.check()?;
        Ok(latency)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn mean(latency: Latency) -> f64 {
        let mut rng = SmallRng::seed_from_u64(1);
        (0..20_000)
            .map(|_| latency.draw(&mut rng).as_secs_f64())
            .sum::<f64>()
            / 20_000.0
    }

    #[test]
    fn draws_have_the_mean_asked_for() {
        let secs = Duration::from_secs;
        assert_eq!(mean(Latency::Fixed(secs(2))), 2.0);
        let uniform = Latency::Uniform {
            min: secs(1),
            max: secs(3),
        };
        assert!((mean(uniform) - 2.0).abs() < 0.05);
        let lognormal = Latency::LogNormal {
            mean: secs(2),
            sigma: 0.6,
        };
        assert!((mean(lognormal) - 2.0).abs() < 0.05);
    }

    #[test]
    fn latencies_are_read_from_text() {
        let ms = Duration::from_millis;
        assert_eq!("20ms".parse(), Ok(Latency::Fixed(ms(20))));
        assert_eq!(
            "10ms..200ms".parse(),
            Ok(Latency::Uniform {
                min: ms(10),
                max: ms(200)
            })
        );
        assert_eq!(
            "lognormal:2s,0.6".parse(),
            Ok(Latency::LogNormal {
                mean: ms(2_000),
                sigma: 0.6
            })
        );
        for bad in [
            "",
            "fast",
            "2s..1s",
            "lognormal:2s",
            "lognormal:2s,9",
            "lognormal:2s,NaN",
        ] {
            assert!(bad.parse::<Latency>().is_err(), "{bad}");
        }
    }
}
