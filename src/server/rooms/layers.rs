//! Selection of the layers that fit a receiver's path.

use super::forward::Layer;

/// Percentage of the estimated capacity that is planned with; the rest is reserved for retransmissions.
const PLANNED: u64 = 90;

/// Margin in percent for switching up, compared with keeping a layer: prevents oscillation.
const RELUCTANCE: u64 = 115;

/// The options for one source of a receiver.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    /// The incoming layers, the smallest first, with their rates in bits per second.
    pub layers: Vec<(Layer, u64)>,
    /// The layer selected so far.
    pub current: Layer,
}

/// Selects a layer for each source (an index into its `layers`): first the smallest for all, then the next larger one
/// in turn, while they fit into `budget` bits per second. Also returns the rate that the largest layers would need.
pub(super) fn choose(choices: &[Choice], budget: u64) -> (Vec<usize>, u64) {
    let planned = budget.saturating_mul(PLANNED) / 100;
    let mut chosen = vec![0; choices.len()];
    let rate = |c: &Choice, n: usize| c.layers.get(n).map_or(0, |l| l.1);
    let mut used: u64 = choices.iter().map(|c| rate(c, 0)).sum();
    let mut is_full = vec![false; choices.len()];
    while is_full.iter().any(|full| !full) {
        for (n, choice) in choices
            .iter()
            .enumerate()
            .filter(|(n, _)| !is_full[*n])
            .collect::<Vec<_>>()
        {
            let next = chosen[n] + 1;
            // A layer that was not measured yet may not fit.
            let Some((layer, more)) = choice.layers.get(next).filter(|l| l.1 > 0) else {
                is_full[n] = true;
                continue;
            };
            let takes = (used - rate(choice, chosen[n])).saturating_add(*more);
            let is_new = *layer > choice.current;
            let needs = if is_new {
                takes.saturating_mul(RELUCTANCE) / 100
            } else {
                takes
            };
            if needs <= planned {
                used = takes;
                chosen[n] = next;
            } else {
                is_full[n] = true;
            }
        }
    }
    let best = choices
        .iter()
        .map(|c| c.layers.last().map_or(0, |l| l.1))
        .sum();
    (chosen, best)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMERA: [(Layer, u64); 3] = [(0, 100_000), (1, 400_000), (2, 1_200_000)];

    fn cameras(current: Layer, count: usize) -> Vec<Choice> {
        let layers = CAMERA.to_vec();
        vec![Choice { layers, current }; count]
    }

    fn chosen(choices: &[Choice], budget: u64) -> Vec<usize> {
        choose(choices, budget).0
    }

    #[test]
    fn as_much_as_fits() {
        assert_eq!(chosen(&cameras(2, 2), 3_000_000), [2, 2]);
        assert_eq!(chosen(&cameras(2, 2), 2_000_000), [2, 1]);
        assert_eq!(chosen(&cameras(2, 2), 1_000_000), [1, 1]);
        assert_eq!(chosen(&cameras(2, 2), 600_000), [1, 0]);
        assert_eq!(
            chosen(&cameras(2, 2), 0),
            [0, 0],
            "never less than the smallest"
        );
        assert_eq!(choose(&cameras(2, 2), 0).1, 2_400_000);
    }

    #[test]
    fn a_layer_is_taken_up_later_than_it_is_kept() {
        assert_eq!(chosen(&cameras(2, 1), 1_400_000), [2]);
        assert_eq!(chosen(&cameras(1, 1), 1_400_000), [1]);
        assert_eq!(chosen(&cameras(1, 1), 1_600_000), [2]);
    }

    #[test]
    fn what_does_not_come_is_not_chosen() {
        let silent = Choice {
            layers: Vec::new(),
            current: 2,
        };
        let single = Choice {
            layers: vec![(0, 900_000)],
            current: 0,
        };
        assert_eq!(choose(&[silent, single], 10_000_000), (vec![0, 0], 900_000));
    }
}
