"""What each method does, where it is from, what it costs and when to take it, in plain words.

For people who choose one (`mose methods`); docs/methods.md has the formulas. Free of torch.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Description:
    """what it does; source; cost, beside the weights; use: when to take it."""

    what: str
    source: str
    cost: str
    use: str


# Most methods seek a target for every fact, which takes longer than all else.
TARGET = "second moments once a model; a target sought for every fact (up to `steps` passes)"
BASE = "that of its base"

DESCRIPTIONS = {
    "mose": Description(
        "Rotates each edited matrix on both sides, W <- R W Q, and holds the keys of all edits: "
        "norm and singular values stay the unedited ones. Options side, memory and "
        "targets give its other forms.",
        "this project's form of MOSE, arXiv 2601.07873",
        f"{TARGET}; an update takes 20 to 90 times MEMIT's (less with solver: nearest), and grows "
        "with the edits held",
        "The default, for sequences of edits that are to keep the spectrum.",
    ),
    "mose-published": Description(
        "Rotates the output of each edited matrix, W <- R W, batch by batch, without memory.",
        "MOSE, AAAI 2026, arXiv 2601.07873",
        f"{TARGET}; a decomposition of d_out x d_out an update",
        "To compare with the paper: it forgets earlier edits.",
    ),
    "rome": Description(
        "A rank-one update of one layer, one fact after another, that gives the subject's key the "
        "wanted value exactly.",
        "ROME, arXiv 2202.05262",
        f"{TARGET}; a rank-one update",
        "One or few facts; nothing holds earlier ones.",
    ),
    "r-rome": Description(
        "ROME with the mean key over all contexts in every place of its formula.",
        "R-ROME, arXiv 2403.07175",
        f"{TARGET}; a rank-one update",
        "In place of ROME where facts are written one after another.",
    ),
    "memit": Description(
        "Least squares over a batch of facts against old knowledge (lambda), spread over several "
        "layers; batches are independent.",
        "MEMIT, arXiv 2210.07229",
        f"{TARGET}; a solve of the size of the batch",
        "One batch, or few; the cheapest update. For more take memit-memory.",
    ),
    "memit-memory": Description(
        "MEMIT that keeps the keys of all edits, so that later batches leave their values alone.",
        "MEMIT, arXiv 2210.07229, with its sequential term (memory: keys)",
        f"{TARGET}; a solve of the size of all edits so far",
        "Sequences of edits; the strongest additive method in this project's comparisons.",
    ),
    "emmet": Description(
        "MEMIT's objective with the new facts as an equality, relaxed in batches (relaxation).",
        "EMMET, arXiv 2403.14236",
        f"{TARGET}; a solve of the size of the batch",
        "Facts that must be written exactly, one at a time or in one batch.",
    ),
    "alphaedit": Description(
        "Least squares in the null space of the second moment, with the keys of earlier edits.",
        "AlphaEdit, ICLR 2025, arXiv 2410.02355",
        f"{TARGET}; an eigendecomposition of d_in x d_in a layer, a solve of all edits so far",
        "Sequences of edits; null_threshold belongs to the model, so tune it or set null_space: "
        "energy.",
    ),
    "encore": Description(
        "MEMIT with memory, a weight on the update's norm, and targets that stop early.",
        "ENCORE, arXiv 2502.01636 (with patience: null RLSEdit, arXiv 2601.15686)",
        f"{TARGET}, which stops early; a solve of the size of all edits so far",
        "Long sequences in which the norm of the weights is to grow slowly.",
    ),
    "betaedit": Description(
        "AlphaEdit that weighs old knowledge by its second moment too, and determines the null "
        "space again every `refresh` edits.",
        "BetaEdit, IJCAI 2026, arXiv 2605.09285",
        f"{TARGET}; an eigendecomposition and a factor of d_in x d_in a layer and refresh",
        "Long sequences, where AlphaEdit's null space no longer fits the edited model.",
    ),
    "evoedit": Description(
        "AlphaEdit's null space, from which every batch takes its own keys: earlier values do not "
        "change at all.",
        "EvoEdit, ACL Findings 2026, arXiv 2510.13851",
        f"{TARGET}; an eigendecomposition of d_in x d_in a layer, a solve of the batch",
        "Sequences shorter than the null space has directions; after them it writes nothing.",
    ),
    "lyaplock": Description(
        "MEMIT with memory solved from the unedited weights at every batch, with a weight of old "
        "knowledge that grows while too much of it is lost (allowance).",
        "LyapLock, arXiv 2505.15702",
        f"{TARGET}; a solve of the size of all edits so far",
        "Long sequences under a bound on what old knowledge may lose.",
    ),
    "ft": Description(
        "Fine-tuning: Adam on the edited matrices, on the batch's new objects, without retention; "
        "norm_constraint bounds how far an entry moves.",
        "arXiv 2012.00363",
        "`steps` passes forward and backward a batch; no second moments",
        "A baseline: it forgets, and it changes neighbours.",
    ),
    "oft": Description(
        "Trains a block-diagonal rotation of the input by Adam, one fact after another.",
        "OFT, arXiv 2306.07280, as in the first release of MOSE's authors",
        "`steps` passes forward and backward a fact, without an early stop; no second moments",
        "A baseline of trained rotations: nothing holds earlier facts.",
    ),
    "locft-bf": Description(
        "Fine-tuning of one layer on all facts so far, begun again at the unedited weight with "
        "every batch: an oracle, no sequential method.",
        "LocFT-BF, ICLR 2026, arXiv 2509.22072",
        "grows with the square of the facts over the batch; no second moments",
        "As an upper bound to compare with; take large batches.",
    ),
    "ultraedit": Description(
        "One regression on the keys and gradients at the answers' tokens: no subject, no target "
        "search, no second moments.",
        "UltraEdit, TMLR 2025, arXiv 2505.14679",
        "one pass forward and backward a batch",
        "Very many facts: of all that edit it does the least work for a fact.",
    ),
    "stableedit": Description(
        "UltraEdit with gradients that are whitened once `warm_up` batches are written.",
        "StableEdit, ICML 2026, arXiv 2605.11836",
        "UltraEdit's, and an eigendecomposition of d_out x d_out an update",
        "Sequences of many more than `warm_up` batches; before, it is UltraEdit.",
    ),
    "in-context": Description(
        "Puts the fact before every prompt and edits no weight: a row to compare with.",
        "the form of IKE, arXiv 2305.12740, without demonstrations",
        "longer prompts",
        "In experiments only; mose edit refuses it, since there is no edited model.",
    ),
    "rect": Description(
        "Keeps of a base's update the share `kept_share` of entries that are largest beside the "
        "weight's own.",
        "RECT, arXiv 2401.04700",
        BASE,
        "To spare general abilities after few batches; facts are written less fully.",
    ),
    "prune": Description(
        "Reduces the singular values of the whole change above the largest unedited one; the next "
        "edit starts from the unreduced weight.",
        "PRUNE, arXiv 2405.16821",
        f"{BASE}, and a decomposition of each matrix whenever the model is measured or saved",
        "Where a base's changes grow large over many batches.",
    ),
    "sphere": Description(
        "Takes from a base's update what lies along the main directions of the weight's rows.",
        "SPHERE, arXiv 2510.01172",
        f"{BASE}, and an eigendecomposition of each matrix a batch",
        "Over base: alphaedit, as its authors do.",
    ),
    "isospectral": Description(
        "Puts each matrix back to the unedited singular values after every update of a base.",
        "this project (the nearest matrix: Mirsky 1960)",
        f"{BASE}, and an eigendecomposition of each matrix an update",
        "To keep the spectrum with any additive base; `mose` looks for the best matrix of the "
        "spectrum in place of the nearest.",
    ),
    "revive": Description(
        "Takes from a base's update what touches the leading singular directions of the unedited "
        "weight, on both sides.",
        "REVIVE, arXiv 2601.11042",
        f"{BASE}, and one decomposition of each unedited matrix",
        "To spare the directions that carry most of the weight.",
    ),
    "rect-aligned": Description(
        "RECT that carries along what it left out, so that later batches make up for it.",
        "arXiv 2605.26670",
        f"{BASE}, which must keep memory",
        "In place of RECT in sequences, over a base with memory: keys.",
    ),
    "prune-aligned": Description(
        "PRUNE of every batch's update, which carries along what it left out.",
        "arXiv 2605.26670",
        f"{BASE}, which must keep memory, and a decomposition of each matrix a batch",
        "In place of PRUNE in sequences, over a base with memory: keys.",
    ),
}
