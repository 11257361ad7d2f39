//! Connected groups of foreground pixels.

/// Which pixels are foreground, row by row.
#[derive(Debug, Clone)]
pub(crate) struct Mask {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) set: Vec<bool>,
}

/// A connected group (corners touch) and its box, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Component {
    pub(crate) left: usize,
    pub(crate) top: usize,
    pub(crate) right: usize,
    pub(crate) bottom: usize,
    /// Number of pixels.
    pub(crate) area: usize,
}

impl Component {
    pub(crate) fn width(&self) -> usize {
        self.right - self.left + 1
    }

    pub(crate) fn height(&self) -> usize {
        self.bottom - self.top + 1
    }
}

impl Mask {
    /// All groups, in the order of their first pixels.
    pub(crate) fn components(&self) -> Vec<Component> {
        let mut seen = vec![false; self.set.len()];
        let mut found = Vec::new();
        for start in 0..self.set.len() {
            if self.set[start] && !seen[start] {
                found.push(self.flood(start, &mut seen));
            }
        }
        found
    }

    /// Takes the group's box out of the mask.
    pub(crate) fn clear(&mut self, group: &Component) {
        for y in group.top..=group.bottom {
            self.set[y * self.width + group.left..=y * self.width + group.right].fill(false);
        }
    }

    fn flood(&self, start: usize, seen: &mut [bool]) -> Component {
        let (x, y) = (start % self.width, start / self.width);
        let mut group = Component {
            left: x,
            top: y,
            right: x,
            bottom: y,
            area: 0,
        };
        let mut open = vec![start];
        seen[start] = true;
        while let Some(at) = open.pop() {
            let (x, y) = (at % self.width, at / self.width);
            group = Component {
                left: group.left.min(x),
                top: group.top.min(y),
                right: group.right.max(x),
                bottom: group.bottom.max(y),
                area: group.area + 1,
            };
            for near_y in y.saturating_sub(1)..=(y + 1).min(self.height - 1) {
                for near_x in x.saturating_sub(1)..=(x + 1).min(self.width - 1) {
                    let near = near_y * self.width + near_x;
                    if self.set[near] && !seen[near] {
                        seen[near] = true;
                        open.push(near);
                    }
                }
            }
        }
        group
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_connect_and_gaps_separate() {
        let rows = ["##...", "..#..", ".....", "...##"];
        let set = rows
            .iter()
            .flat_map(|row| row.chars().map(|pixel| pixel == '#'))
            .collect();
        let groups = Mask {
            width: 5,
            height: 4,
            set,
        }
        .components();
        assert_eq!(
            groups,
            [
                Component {
                    left: 0,
                    top: 0,
                    right: 2,
                    bottom: 1,
                    area: 3
                },
                Component {
                    left: 3,
                    top: 3,
                    right: 4,
                    bottom: 3,
                    area: 2
                }
            ]
        );
    }
}
