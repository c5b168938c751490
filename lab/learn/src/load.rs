//! What clients ask for, and the way to the backend.

use fastrand::Rng;

use crate::time::{exponential, pareto, Micros, Pauses, HOUR, MS, SECOND};

#[derive(Clone)]
pub struct Load {
    pub name: &'static str,
    pub requests: Requests,
    pub workers: usize,
    /// How many connections a worker keeps.
    pub keepalive: usize,
    pub round_trip: Micros,
    /// That of the second half of the run.
    pub later: Option<Micros>,
    /// How much of a round trip is added to it on the average.
    pub jitter: f64,
    /// How many packets come the second time only.
    pub loss: f64,
    /// The backend's work for a request, on the average.
    pub work: Micros,
    /// The workers are blocked at times.
    pub blocked: Option<Pauses>,
    pub length: Micros,
}

/// When requests come; the rates are of a second.
#[derive(Clone, Copy)]
pub enum Requests {
    Poisson(f64),
    Pareto(f64),
    /// So many at once, within 50 ms.
    Bursts(f64, u32),
    /// At each worker one after the other; half of them just when the backend closes.
    Dangerous,
}

pub struct Request {
    pub at: Micros,
    pub worker: usize,
    pub work: Micros,
}

impl Load {
    /// How long a packet is on its way.
    pub fn one_way(&self, at: Micros, rng: &mut Rng) -> Micros {
        let half = self.round_trip_at(at) / 2;
        let jitter = exponential(rng, half as f64 * self.jitter) as Micros;
        let again = if self.loss > 0.0 && rng.f64() < self.loss { 200 * MS + 2 * half } else { 0 };

        half + jitter + again
    }

    pub fn round_trip_at(&self, at: Micros) -> Micros {
        self.later.filter(|_| at > self.length / 2).unwrap_or(self.round_trip)
    }

    /// All requests of a run, where a reuse is the most dangerous at this age.
    pub fn requests(&self, age: Micros, seed: u64) -> Vec<Request> {
        let mut rng = Rng::with_seed(seed);

        let mut requests = match self.requests {
            Requests::Dangerous => self.dangerous(age as f64, &mut rng),
            _ => self.random(&mut rng),
        };

        requests.sort_by_key(|request| request.at);
        requests
    }

    fn random(&self, rng: &mut Rng) -> Vec<Request> {
        let mut requests = vec![];
        let mut at = 0.0;

        loop {
            let (pause, together) = match self.requests {
                Requests::Pareto(rate) => (pareto(rng, 1e6 / rate), 1),
                Requests::Bursts(rate, n) => (pareto(rng, 1e6 * f64::from(n) / rate), n),
                Requests::Poisson(rate) => (exponential(rng, 1e6 / rate), 1),
                Requests::Dangerous => return requests,
            };

            at += pause;

            if at >= self.length as f64 {
                return requests;
            }

            for _ in 0..together {
                let late = if together > 1 { rng.u64(..50 * MS) } else { 0 };
                let worker = rng.usize(..self.workers);

                requests.push(Request { at: at as Micros + late, worker, work: self.work(rng) });
            }
        }
    }

    fn dangerous(&self, age: f64, rng: &mut Rng) -> Vec<Request> {
        let mut requests = vec![];

        for worker in 0..self.workers {
            let mut at = 0;

            loop {
                let pause = if rng.bool() { 1.3 * rng.f64() } else { 0.85 + 0.17 * rng.f64() };
                let work = self.work(rng);

                at += (pause * age) as Micros + work + self.round_trip;

                if at >= self.length {
                    break;
                }

                requests.push(Request { at, worker, work });
            }
        }

        requests
    }

    fn work(&self, rng: &mut Rng) -> Micros {
        100 + exponential(rng, self.work as f64) as Micros
    }

    /// The loads that every backend has to bear.
    pub fn all() -> Vec<Self> {
        use Requests::{Bursts, Dangerous, Pareto, Poisson};

        let load = Self {
            name: "",
            requests: Dangerous,
            workers: 1,
            keepalive: 16,
            round_trip: 2 * MS,
            later: None,
            jitter: 0.1,
            loss: 0.0,
            work: 5 * MS,
            blocked: None,
            length: 4 * HOUR,
        };
        let named = |name, requests, workers| Self { name, requests, workers, ..load.clone() };

        vec![
            Self { length: 24 * HOUR, ..named("0.1/s, 2 ms", Poisson(0.1), 1) },
            Self { round_trip: 100, ..named("1/s, 0.1 ms", Poisson(1.0), 1) },
            named("1/s uneven, 4 workers, 2 ms", Pareto(1.0), 4),
            Self {
                keepalive: 8,
                length: 2400 * SECOND,
                ..named("10/s in eights, 4 workers, 2 ms", Bursts(10.0, 8), 4)
            },
            Self {
                round_trip: 40 * MS,
                length: HOUR,
                ..named("10/s uneven, 32 workers, 40 ms", Pareto(10.0), 32)
            },
            Self {
                round_trip: 40 * MS,
                keepalive: 64,
                length: 900 * SECOND,
                ..named("100/s, 4 workers, 40 ms", Poisson(100.0), 4)
            },
            Self {
                keepalive: 64,
                length: 300 * SECOND,
                ..named("1000/s in twenties, 32 workers, 2 ms", Bursts(1000.0, 20), 32)
            },
            Self {
                round_trip: 100,
                work: 300,
                length: 200 * SECOND,
                ..named("2000/s, 0.1 ms", Poisson(2000.0), 1)
            },
            Self { keepalive: 4, length: 8 * HOUR, ..named("at the timeout, 2 ms", Dangerous, 1) },
            Self {
                round_trip: 40 * MS,
                jitter: 0.3,
                ..named("at the timeout, 4 workers, 40 ms", Dangerous, 4)
            },
            Self {
                blocked: Some(Pauses { every: 10 * SECOND, length: 700 * MS }),
                ..named("at the timeout, 4 workers, blocked", Dangerous, 4)
            },
            Self {
                later: Some(40 * MS),
                ..named("at the timeout, 4 workers, 2 to 40 ms", Dangerous, 4)
            },
            Self { loss: 0.005, ..named("at the timeout, 4 workers, losses", Dangerous, 4) },
        ]
    }
}
