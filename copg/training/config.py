"""Settings of ``train``; plain values, so that a recipe is checked without loading torch."""

from dataclasses import asdict, field
from typing import Annotated, Any, Literal

from pydantic import Field

from copg.config import AtLeastOne, Fraction, Natural, NotNegative, Positive, configuration
from copg.lm.config import GenerationConfig, RowConfig, TextConfig
from copg.losses import check_method
from copg.losses.units import has_reward_units
from copg.rewards.contract import RewardSpec

ADAPTER_RATE, ALL_WEIGHTS_RATE, REWARD_RATE = 1e-4, 1e-6, 1e-5
"""Learning rates where none is given: of an adapter, of all weights of a policy, and of a reward model."""

Chosen = Literal["all", "best_third"]
SHARE: dict[Chosen, float] = {"all": 1.0, "best_third": 1 / 3}
"""Of the training prompts that are kept."""
FEWEST_GROUPS, MOST_GROUPS, ENOUGH_STEPS = 4, 32, 64
"""What the groups of a step lie between where no number is given, and the steps that they are to leave."""


@configuration
class TargetKL:
    """A distance to go from the reference, for which a pilot finds beta."""

    kl: Positive
    """Nats a completion, of text that the policy draws; no more than the logs can support."""
    prompts: AtLeastOne = 256
    """Of the train split, on which the pilot is trained."""
    residual: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Var(R_beta) / Var(R) at which the pilot ends; it never takes more steps than the training itself."""


@configuration
class TrialConfig:
    """What sets one trial apart from the others of a sweep."""

    beta: float | TargetKL
    """KL strength, in reward units per nat, > 0; or keys with the distance to go, for which it is found."""
    method: str = "copg"
    """How it learns: contrastive policy gradient, or another to compare it with."""
    name: str = ""
    """Of the trial in report and registry; empty: method and beta."""
    seed: Natural = 0
    """Of the order of groups and of an adapter's first weights."""
    learning_rate: Positive | None = None
    """Instead of the optimiser's."""
    value_learning_rate: Positive = 1e-2
    """Of the head that learns the value of a prompt, in methods that have one (``dro_v``)."""

    def __post_init__(self) -> None:
        check_method(self.method)
        if isinstance(self.beta, TargetKL):
            if not has_reward_units(self.method):
                raise ValueError(
                    f"beta={{'kl': {self.beta.kl:g}}} of method={self.method!r}, whose beta is not in reward "
                    "units, cannot be found from rewards: give a number"
                )
        elif not self.beta > 0:
            raise ValueError(f"beta={self.beta} must be > 0: at 0 nothing ties the policy to the reference")

    @property
    def price(self) -> float:
        """Beta as a number, once the pilot of a target has found it."""
        assert not isinstance(self.beta, TargetKL)
        return self.beta

    @property
    def label(self) -> str:
        """The name, or ``method_beta``, or ``method_klNATS`` of a target."""
        beta = f"kl{self.beta.kl:g}" if isinstance(self.beta, TargetKL) else f"{self.beta:g}"
        return self.name or f"{self.method}_{beta}"


@configuration
class OptimizerConfig:
    """AdamW with warm-up and decay."""

    learning_rate: Positive | None = None
    """Of each step once it has warmed up, before it decays. None: 1e-4 of an adapter, and
    of all weights 1e-6, those of a reward model 1e-5."""
    weight_decay: NotNegative = 0.0
    """Share of a weight that is taken off it each step, times the learning rate."""
    beta1: NotNegative = 0.9
    """Of the running mean of gradients: what of it stays each step."""
    beta2: NotNegative = 0.999
    """The same of their squares."""
    epsilon: Positive = 1e-8
    """Added to the root of these, by which a step is divided."""
    warmup_fraction: Fraction = 0.1
    """Share of the steps over which the learning rate rises linearly from 0."""
    decay: Literal["cosine", "linear", "constant"] = "cosine"
    """From the peak to 0 over the steps after warm-up."""
    max_grad_norm: Positive | None = 1.0
    """Gradients are scaled down to this L2 norm; of methods whose beta is in reward units, those of a loss in
    spreads of the rewards, so that no scale of rewards changes what is clipped. None: to the .9 quantile of
    the norms of the latest 100 steps, so that about one in ten is clipped whatever the model."""

    def peak(self, lora: "LoraConfig | None", *, all_weights: float = ALL_WEIGHTS_RATE) -> float:
        """Learning rate once it has warmed up, of an adapter or of ``all_weights``."""
        return self.learning_rate or (all_weights if lora is None else ADAPTER_RATE)


@configuration
class LoraConfig:
    """A low-rank adapter on frozen weights; with it switched off the model is the reference."""

    rank: AtLeastOne = 16
    """Of the two matrices that a layer gets."""
    alpha: Positive = 32.0
    """Their product counts ``alpha / rank`` times."""
    dropout: NotNegative = 0.0
    """Share of the inputs of an adapter that a training step leaves out."""
    target_modules: str | list[str] = "all-linear"
    """Names of the layers, or ``all-linear``: every linear layer but the head."""


@configuration
class MonitorConfig:
    """Completions drawn along the way: the only thing that shows a reward collapse."""

    every_steps: Natural = 50
    """Beside the first and the last step; 0: those alone."""
    num_prompts: Natural = 64
    """Of the select split, one completion each; 0 switches sampling off."""
    rewards: list[RewardSpec] = field(default_factory=list)
    """What scores them; without any, only their KL and length are measured."""
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    collapse_spreads: NotNegative = 1.0
    """The trial has diverged when mean reward falls this many standard deviations (of the rewards at the
    start) below where it started; 0 never stops."""

    def __post_init__(self) -> None:
        if self.generation.engine_name != "own":
            key = "vllm_python" if self.generation.vllm_python else "engine"
            raise ValueError(f"generation.{key} is for evaluate: here the policy is in memory, and changing")


@configuration
class CheckpointConfig:
    """Where a killed run goes on from, and which weights a finished one yields."""

    folder: str
    """Stable path or URL (``s3://...``) outside the task's output; each run has a sub-folder of its own."""
    every_s: NotNegative = 120.0
    """Seconds of work that can be lost."""
    every_steps: Natural = 0
    """Also every so many steps; 0: by time alone."""
    keep: AtLeastOne = 2
    """How many of the latest to keep while training."""
    when_done: Literal["remove", "keep"] = "remove"
    """``keep``: the last step's stays, from which the same training writes the same policy again at once. So
    does a task of a cluster, whose outputs are stored only after it ended; ``evaluate`` then removes it."""
    yields: Literal["last", "best"] = "last"
    """``best``: by mean reward of the sampled completions."""
    save_dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the policy's files."""


@configuration
class TrackingConfig:
    """Metrics in MLflow, beside ``metrics.jsonl``."""

    uri: str | None = None
    """``sqlite:///...`` or a server; None: no tracking."""
    experiment: str = "copg"
    """Under which the runs stand there; made where it is not there."""
    every_steps: AtLeastOne = 10
    """How often the metrics of a step are written."""


@configuration
class LaunchConfig:
    """Over which processes a training is spread; none of it changes what is learnt."""

    processes: Natural = 0
    """On this machine; 0: one a GPU, one where there is none."""
    sharding: Literal["ddp", "fsdp2"] = "ddp"
    """``ddp``: every process holds all weights and moments. ``fsdp2``: each holds its share, for models whose
    moments do not fit on a GPU; the weights alone must, while completions are drawn."""
    shutdown_s: Natural = 300
    """Seconds that processes have to save a checkpoint when the training is asked to stop."""
    abandoned_s: Natural = 1200
    """A training over several nodes saves and ends when its task gave no sign for so long, which should be
    more than the task's longest back-off; 0: it never does."""


@configuration
class TrainConfig:
    """One trial: a policy trained from the reference on whole groups."""

    model: str
    """The reference, and where the policy starts unless ``start_from`` says otherwise."""
    trial: TrialConfig
    checkpoint: CheckpointConfig
    revision: str | None = None
    """Of ``model`` on the hub."""
    model_digest: str = ""
    """Of the weights of ``model`` that are meant, when it is known; empty: whatever lies there."""
    start_from: str | None = None
    """Another policy to start from (a champion); the reference stays ``model``."""
    start_revision: str | None = None
    """Of ``start_from`` on the hub."""
    start_digest: str = ""
    """Of the weights of ``start_from``, when it is known already; empty: computed here."""
    data: Chosen = "all"
    """``best_third``: the prompts that promise most at the trial's beta, by log-mean-exp over their
    completions; by the spread of their rewards where beta is not in reward units."""
    transform: Literal["none", "rank", "clip"] = "none"
    """What training makes of rewards within a prompt: ``rank`` counts their order in steps of equal size,
    ``clip`` bounds what lies 2 robust deviations from the median. Reports tell rewards as they are."""
    prompts: Natural = 0
    """Of these, as many as there are to train on at most, the first by id; 0: all."""
    epochs: AtLeastOne = 1
    """How often every group of the train split is seen."""
    until_residual: NotNegative = 0.0
    """Var(R_beta) / Var(R), mean over the latest steps, at which the training ends early; 0: never."""
    groups_per_step: AtLeastOne | None = None
    """The loss is averaged over these, across micro-batches and processes. None: 32, and fewer, down to 4, as
    long as a training would have less than 64 steps."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    rows: RowConfig = field(default_factory=RowConfig)
    """Must be those of ``reference``."""
    text: TextConfig = field(default_factory=TextConfig)
    """How prompts and completions become tokens; the recipe's, the same for every stage."""
    lora: LoraConfig | None = None
    """None trains all weights."""
    samples: MonitorConfig = field(default_factory=MonitorConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    threads: Natural = 0
    """CPU threads; 0: torch's own choice. Recorded, since sums depend on it."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, a third more work."""
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    pilot: dict[str, float] = field(default_factory=dict)
    """What the pilot of a trial with a target came to; a run fills it in."""

    def __post_init__(self) -> None:
        if self.lora is None and self.rows.parameter_dtype == "bfloat16":
            raise ValueError(
                "parameter_dtype=bfloat16 with all weights trained: at small learning rates bfloat16 weights "
                "do not move; use float32 parameters with compute_dtype=bfloat16, or lora"
            )

        if self.launch.sharding == "fsdp2" and self.rows.split_groups:
            raise ValueError(
                "rows.split_groups=True does not go with launch.sharding=fsdp2, whose processes must all run "
                "the same number of forwards; use ddp, or rows large enough for every group"
            )

    def step_size(self, num_groups: int) -> int:
        """Groups a step of a training on so many."""
        some = self.epochs * num_groups // ENOUGH_STEPS
        return self.groups_per_step or min(max(some, FEWEST_GROUPS), MOST_GROUPS)

    @property
    def peak_rate(self) -> float:
        """Learning rate of the policy once it has warmed up."""
        return self.trial.learning_rate or self.optimizer.peak(self.lora)

    def identity(self) -> dict[str, Any]:
        """What decides the result, beside the digest of the groups: no names, tracking, folders."""
        settings = asdict(self)
        for key in ("tracking", "checkpoint", "launch", "model_digest", "pilot"):
            settings.pop(key)
        settings["yields"] = self.checkpoint.yields
        settings["optimizer"]["learning_rate"] = self.peak_rate
        settings["trial"].pop("name")
        return settings
