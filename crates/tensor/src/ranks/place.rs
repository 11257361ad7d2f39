//! Where a process finds the others: what torchrun, Kubernetes' training operators and SLURM set.

/// SLURM sets no port: one of these, by the job.
const PORTS: std::ops::Range<u64> = 15_000..25_000;

/// Which process this is, and where all meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub(super) rank: u32,
    pub(super) ranks: u32,
    /// Among those of this machine; its card.
    pub local_rank: usize,
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether the launcher serves the store; otherwise process 0 does.
    pub(super) is_served: bool,
    /// Whether all are on this machine, as far as a launcher says.
    pub(super) is_local: bool,
    /// What tells this start from others that meet at the same place.
    pub(super) session: String,
}

/// Variables that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// One is missing.
    #[error(
        "`{set}` is set, but `{missing}` is not: start all processes with `torchrun --no-python` or `srun`"
    )]
    Missing {
        /// The one that is there.
        set: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// One is no number, or out of range.
    #[error("`{variable}` is `{value}`; expected {expected}")]
    Unfit {
        /// Which.
        variable: &'static str,
        /// As it is set.
        value: String,
        /// What it can be.
        expected: String,
    },
}

impl Place {
    /// What `variable` gives for names of environment variables; none for one process by itself.
    ///
    /// # Errors
    /// Variables that are missing or do not fit.
    pub fn find(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, PlaceError> {
        let of = Variables(&variable);
        let names = if of.has("WORLD_SIZE") || of.has("RANK") {
            ["RANK", "WORLD_SIZE", "LOCAL_RANK"]
        } else if of.has("SLURM_STEP_NUM_TASKS") {
            ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"]
        } else {
            return Ok(None);
        };
        let [rank, ranks, local] = names;
        let ranks_found: u32 = of.number(ranks, rank)?;
        if ranks_found == 0 {
            return Err(PlaceError::Unfit {
                variable: ranks,
                value: "0".to_owned(),
                expected: "1 or more".to_owned(),
            });
        }
        let rank_found: u32 = of.number(rank, ranks)?;
        if rank_found >= ranks_found {
            return Err(PlaceError::Unfit {
                variable: rank,
                value: rank_found.to_string(),
                expected: format!("0 to {}, as `{ranks}` is {ranks_found}", ranks_found - 1),
            });
        }
        if ranks_found == 1 {
            return Ok(None);
        }
        let is_slurm = rank == "SLURM_PROCID";
        let launch = variable("SLURM_LAUNCH_NODE_IPADDR").filter(|_| is_slurm);
        let host = variable("MASTER_ADDR").or(launch);
        let host = host.ok_or(PlaceError::Missing {
            set: ranks,
            missing: "MASTER_ADDR",
        })?;
        let job: u64 = if is_slurm {
            of.number("SLURM_JOB_ID", ranks)?
        } else {
            0
        };
        let port = if is_slurm && !of.has("MASTER_PORT") {
            (PORTS.start + job % (PORTS.end - PORTS.start)) as u16
        } else {
            of.number("MASTER_PORT", ranks)?
        };
        let is_served = variable("TORCHELASTIC_USE_AGENT_STORE").as_deref() == Some("True");
        Ok(Some(Self {
            rank: rank_found,
            ranks: ranks_found,
            local_rank: if of.has(local) {
                of.number(local, rank)?
            } else {
                0
            },
            host,
            port,
            is_served,
            is_local: !of.has("LOCAL_WORLD_SIZE")
                || of.number::<u32>("LOCAL_WORLD_SIZE", ranks)? == ranks_found,
            session: if is_served {
                let attempt: u32 = of.number("TORCHELASTIC_RESTART_COUNT", ranks)?;
                attempt.to_string()
            } else {
                let step = variable("SLURM_STEP_ID").unwrap_or_default();
                format!("{job}.{step}")
            },
        }))
    }
}

struct Variables<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    fn has(&self, name: &str) -> bool {
        (self.0)(name).is_some()
    }

    /// A number, which has to be there as `because` is.
    fn number<T: std::str::FromStr>(
        &self,
        name: &'static str,
        because: &'static str,
    ) -> Result<T, PlaceError> {
        let value = (self.0)(name).ok_or(PlaceError::Missing {
            set: because,
            missing: name,
        })?;
        value.parse().map_err(|_| PlaceError::Unfit {
            variable: name,
            value,
            expected: "a number".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(set: &[(&str, &str)]) -> Result<Option<Place>, PlaceError> {
        Place::find(|name| {
            let found = set.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    const TORCHRUN: [(&str, &str); 7] = [
        ("RANK", "3"),
        ("WORLD_SIZE", "8"),
        ("LOCAL_RANK", "1"),
        ("MASTER_ADDR", "node-0"),
        ("MASTER_PORT", "4711"),
        ("TORCHELASTIC_USE_AGENT_STORE", "True"),
        ("TORCHELASTIC_RESTART_COUNT", "2"),
    ];

    #[test]
    fn launchers_say_it_in_their_words() {
        assert_eq!(find(&[]), Ok(None));
        assert_eq!(find(&[("RANK", "0"), ("WORLD_SIZE", "1")]), Ok(None));
        let place = find(&TORCHRUN).expect("fits").expect("eight");
        assert_eq!((place.rank, place.ranks, place.local_rank), (3, 8, 1));
        assert!(place.is_served && place.session == "2" && place.is_local);
        assert_eq!((place.host.as_str(), place.port), ("node-0", 4711));

        let kubernetes = find(&TORCHRUN[..5]).expect("fits").expect("eight");
        assert!(!kubernetes.is_served);

        let slurm = [
            ("SLURM_PROCID", "5"),
            ("SLURM_STEP_NUM_TASKS", "16"),
            ("SLURM_LOCALID", "5"),
            ("SLURM_LAUNCH_NODE_IPADDR", "10.0.0.1"),
            ("SLURM_JOB_ID", "40012"),
            ("SLURM_STEP_ID", "1"),
        ];
        let place = find(&slurm).expect("fits").expect("sixteen");
        assert_eq!((place.rank, place.ranks, place.port), (5, 16, 15_012));
        assert_eq!(
            (place.host.as_str(), place.session.as_str()),
            ("10.0.0.1", "40012.1")
        );
        let many = [&TORCHRUN[..], &[("LOCAL_WORLD_SIZE", "4")]].concat();
        assert!(!find(&many).expect("fits").expect("eight").is_local);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (set, words) in [
            (
                &[("RANK", "0")][..],
                "`RANK` is set, but `WORLD_SIZE` is not",
            ),
            (
                &[("WORLD_SIZE", "2")],
                "`WORLD_SIZE` is set, but `RANK` is not",
            ),
            (
                &[("WORLD_SIZE", "two"), ("RANK", "0")],
                "`WORLD_SIZE` is `two`; expected a number",
            ),
            (&[("WORLD_SIZE", "2"), ("RANK", "2")], "expected 0 to 1"),
            (
                &[("WORLD_SIZE", "2"), ("RANK", "1")],
                "`MASTER_ADDR` is not",
            ),
            (
                &[("WORLD_SIZE", "2"), ("RANK", "1"), ("MASTER_ADDR", "a")],
                "`MASTER_PORT` is not",
            ),
            (&[("WORLD_SIZE", "0"), ("RANK", "0")], "expected 1 or more"),
        ] {
            let error = find(set).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
