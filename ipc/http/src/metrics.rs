//! The numbers of `/stats` as Prometheus reads them.

use std::fmt::{Display, Write as _};

use mlos_api::{ClassStats, ClientStats, Health, ModelStats, Readiness, ShardStats, Stats};

/// One family of samples: name, type, help.
type Family = (&'static str, &'static str, &'static str);

/// How a request may end, and where that is counted.
type Outcome = (&'static str, fn(&ClassStats) -> u64);

/// A family, and where its value is read.
type Read<T, V> = (Family, fn(&T) -> V);

/// The text of `/metrics`.
pub(crate) fn text(stats: &Stats, health: &Health) -> String {
    let mut page = Page::default();
    let up = matches!(health.status, Readiness::Healthy);
    page.family(("mlos_up", "gauge", "1 while it wants traffic, 0 while it drains."));
    page.sample("mlos_up", &[], u8::from(up));
    page.family(("mlos_uptime_seconds", "gauge", "Time since start."));
    page.sample("mlos_uptime_seconds", &[], stats.uptime_seconds);
    page.family(("mlos_models_ready", "gauge", "Models that answer requests."));
    page.sample("mlos_models_ready", &[], health.models_ready);
    page.classes(&stats.classes);
    page.latency(&stats.classes);
    page.models(&stats.models);
    page.shards(&stats.shards);
    page.clients(&stats.clients);
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, (name, kind, help): Family) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.line(format_args!("{name}"));
        for (position, (label, text)) in labels.iter().enumerate() {
            let before = if position == 0 { '{' } else { ',' };
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            self.line(format_args!("{before}{label}=\"{text}\""));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.line(format_args!("{after} {value}\n"));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a `String` cannot fail.
        let _ = self.0.write_fmt(text);
    }

    fn classes(&mut self, classes: &[ClassStats]) {
        const OUTCOMES: [Outcome; 4] = [
            ("completed", |class| class.completed),
            ("failed", |class| class.failed),
            ("rejected", |class| class.rejected),
            ("cancelled", |class| class.cancelled),
        ];
        const FAMILIES: [Read<ClassStats, u64>; 4] = [
            (
                ("mlos_requests_arrived_total", "counter", "Requests that arrived."),
                |class| class.arrived,
            ),
            (
                (
                    "mlos_deadline_missed_total",
                    "counter",
                    "Done, but after their deadline.",
                ),
                |class| class.deadline_missed,
            ),
            (
                (
                    "mlos_preempted_total",
                    "counter",
                    "Suspensions for something more urgent.",
                ),
                |class| class.preempted,
            ),
            (
                ("mlos_requests_queued", "gauge", "Requests queued now."),
                |class| class.queued,
            ),
        ];
        self.family(("mlos_requests_total", "counter", "Requests by class and outcome."));
        for class in classes {
            for (outcome, read) in OUTCOMES {
                self.sample(
                    "mlos_requests_total",
                    &[("class", class.class.name()), ("outcome", outcome)],
                    read(class),
                );
            }
        }
        for (family, read) in FAMILIES {
            self.family(family);
            for class in classes {
                self.sample(family.0, &[("class", class.class.name())], read(class));
            }
        }
    }

    /// Prometheus counts cumulatively, and in seconds.
    fn latency(&mut self, classes: &[ClassStats]) {
        const NAME: &str = "mlos_latency_seconds";
        self.family((NAME, "histogram", "From arrival to completion."));
        for class in classes {
            let name = class.class.name();
            let mut below = 0;
            for &(bound_us, count) in class
                .latency_buckets_us
                .iter()
                .filter(|(bound_us, _)| *bound_us != u64::MAX)
            {
                below += count;
                let bound = (bound_us as f64 / 1e6).to_string();
                self.sample(
                    "mlos_latency_seconds_bucket",
                    &[("class", name), ("le", &bound)],
                    below,
                );
            }
            let all: u64 = class.latency_buckets_us.iter().map(|(_, count)| count).sum();
            self.sample(
                "mlos_latency_seconds_bucket",
                &[("class", name), ("le", "+Inf")],
                all,
            );
            self.sample(
                "mlos_latency_seconds_sum",
                &[("class", name)],
                class.latency_sum_us as f64 / 1e6,
            );
            self.sample("mlos_latency_seconds_count", &[("class", name)], all);
        }
    }

    fn models(&mut self, models: &[ModelStats]) {
        const FAMILIES: [Read<ModelStats, f64>; 6] = [
            (
                (
                    "mlos_model_completed_total",
                    "counter",
                    "Requests answered with a result.",
                ),
                |model| model.completed as f64,
            ),
            (
                (
                    "mlos_model_failed_total",
                    "counter",
                    "Requests answered with an error.",
                ),
                |model| model.failed as f64,
            ),
            (
                ("mlos_model_runs_total", "counter", "Runs of the plugin."),
                |model| model.runs as f64,
            ),
            (
                (
                    "mlos_model_compute_seconds_total",
                    "counter",
                    "Time in the plugin.",
                ),
                |model| model.compute_us as f64 / 1e6,
            ),
            (
                ("mlos_model_queue_seconds_total", "counter", "Time in queues."),
                |model| model.queue_us as f64 / 1e6,
            ),
            (
                ("mlos_model_resident_bytes", "gauge", "Memory it holds."),
                |model| model.resident_bytes as f64,
            ),
        ];
        for (family, read) in FAMILIES {
            self.family(family);
            for model in models {
                self.sample(family.0, &[("model", &model.model)], read(model));
            }
        }
    }

    fn clients(&mut self, clients: &[ClientStats]) {
        const FAMILIES: [Read<ClientStats, u64>; 4] = [
            (
                (
                    "mlos_client_requests_total",
                    "counter",
                    "Inferences that a client of this machine has asked for.",
                ),
                |client| client.requests,
            ),
            (
                (
                    "mlos_client_refused_total",
                    "counter",
                    "Of these, refused before they were queued.",
                ),
                |client| client.refused,
            ),
            (
                (
                    "mlos_client_failed_total",
                    "counter",
                    "Of these, ended without a result after that.",
                ),
                |client| client.failed,
            ),
            (
                (
                    "mlos_client_arena_bytes",
                    "gauge",
                    "Memory that a client shares with the daemon.",
                ),
                |client| client.arena_bytes,
            ),
        ];
        for (family, read) in FAMILIES {
            self.family(family);
            for client in clients {
                let (id, pid) = (client.id.to_string(), client.pid.to_string());
                let labels = [("client", id.as_str()), ("name", &client.name), ("pid", &pid)];
                self.sample(family.0, &labels, read(client));
            }
        }
    }

    fn shards(&mut self, shards: &[ShardStats]) {
        const FAMILIES: [Read<ShardStats, f64>; 7] = [
            (
                (
                    "mlos_shard_backlog_seconds",
                    "gauge",
                    "Work queued and running, as predicted.",
                ),
                |shard| shard.backlog_us as f64 / 1e6,
            ),
            (
                (
                    "mlos_shard_predictions_total",
                    "counter",
                    "Predictions of the cost model.",
                ),
                |shard| shard.predictions as f64,
            ),
            (
                (
                    "mlos_shard_predictions_accurate_total",
                    "counter",
                    "Predictions that held.",
                ),
                |shard| shard.predictions_accurate as f64,
            ),
            (
                (
                    "mlos_shard_predictions_missed_total",
                    "counter",
                    "Runs longer than predicted.",
                ),
                |shard| shard.predictions_missed as f64,
            ),
            (
                (
                    "mlos_pool_limit_bytes",
                    "gauge",
                    "Most tensor memory it may take.",
                ),
                |shard| shard.pool.limit_bytes as f64,
            ),
            (
                (
                    "mlos_pool_reserved_bytes",
                    "gauge",
                    "Tensor memory taken from the system.",
                ),
                |shard| shard.pool.reserved_bytes as f64,
            ),
            (
                ("mlos_pool_in_use_bytes", "gauge", "Tensor memory on loan."),
                |shard| shard.pool.in_use_bytes as f64,
            ),
        ];
        for (family, read) in FAMILIES {
            self.family(family);
            for shard in shards {
                self.sample(family.0, &[("shard", &shard.shard.to_string())], read(shard));
            }
        }
    }
}
