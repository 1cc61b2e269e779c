//! Squarified treemaps: rectangles in proportion to sizes, as close to squares as possible (Bruls, Huizing and van
//! Wijk, 2000).

/// A rectangle, in pixels from the upper left.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Rect {
    fn shorter_side(&self) -> f64 {
        self.width.min(self.height)
    }

    /// Cuts it across the longer side. The first part has `portion` of the area.
    pub(super) fn split(self, portion: f64) -> (Rect, Rect) {
        let portion = portion.clamp(0.0, 1.0);
        if self.width >= self.height {
            let width = self.width * portion;
            (Rect { width, ..self }, Rect { x: self.x + width, width: self.width - width, ..self })
        } else {
            let height = self.height * portion;
            (Rect { height, ..self }, Rect { y: self.y + height, height: self.height - height, ..self })
        }
    }
}

/// A rectangle for each size, in the order of the sizes; a size of 0 gets an empty one. The shapes are best if the
/// largest size comes first.
pub(super) fn squarify(sizes: &[u64], area: Rect) -> Vec<Rect> {
    let total: f64 = sizes.iter().map(|size| *size as f64).sum();
    // If all sizes are 0, all rectangles are empty.
    let scale = if total > 0.0 { area.width * area.height / total } else { 0.0 };
    let mut rects = Vec::with_capacity(sizes.len());
    let mut free = area;
    let mut row: Vec<f64> = Vec::new();
    for size in sizes {
        let next = *size as f64 * scale;
        if !row.is_empty() && worst(&row, next, free.shorter_side()) > worst(&row, 0.0, free.shorter_side()) {
            free = lay(&row, free, &mut rects);
            row.clear();
        }
        row.push(next);
    }
    lay(&row, free, &mut rects);
    rects
}

/// How far from a square the worst rectangle of the row is, if `next` joins it.
fn worst(row: &[f64], next: f64, side: f64) -> f64 {
    let all = || row.iter().copied().chain(Some(next)).filter(|size| *size > 0.0);
    let sum: f64 = all().sum();
    let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    if sum == 0.0 || side == 0.0 {
        return f64::INFINITY;
    }
    (side * side * most / (sum * sum)).max(sum * sum / (side * side * least))
}

/// Lays the row along the shorter side of the free area, and returns the rest of that.
fn lay(row: &[f64], free: Rect, rects: &mut Vec<Rect>) -> Rect {
    let sum: f64 = row.iter().sum();
    let is_wide = free.width >= free.height;
    let side = free.shorter_side();
    let longer = free.width.max(free.height);
    let depth = if side > 0.0 { (sum / side).min(longer) } else { 0.0 };
    let mut done = 0.0;
    for size in row {
        // The length is a share of the side, not an area divided by the depth, so rounding leaves no gap or overlap.
        let length = if sum > 0.0 { side * (size / sum) } else { 0.0 };
        rects.push(match is_wide {
            _ if length == 0.0 => Rect { x: free.x, y: free.y, ..Rect::default() },
            true => Rect { x: free.x, y: free.y + done, width: depth, height: length },
            false => Rect { x: free.x + done, y: free.y, width: length, height: depth },
        });
        done += length;
    }
    match is_wide {
        true => Rect { x: free.x + depth, width: free.width - depth, ..free },
        false => Rect { y: free.y + depth, height: free.height - depth, ..free },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AREA: Rect = Rect { x: 10.0, y: 20.0, width: 1120.0, height: 560.0 };

    /// How much rounding may change a length.
    const SLACK: f64 = 1e-6;

    fn check(sizes: &[u64], area: Rect) {
        let rects = squarify(sizes, area);
        assert_eq!(rects.len(), sizes.len());
        let total: f64 = sizes.iter().map(|size| *size as f64).sum();
        for (rect, size) in rects.iter().zip(sizes) {
            let share = if total > 0.0 { *size as f64 / total } else { 0.0 };
            let (is, should) = (rect.width * rect.height, share * area.width * area.height);
            assert!((is - should).abs() <= should * 1e-6 + SLACK, "{size}: {is} and not {should}");
            assert!(rect.x >= area.x - SLACK && rect.x + rect.width <= area.x + area.width + SLACK, "{rect:?}");
            assert!(rect.y >= area.y - SLACK && rect.y + rect.height <= area.y + area.height + SLACK, "{rect:?}");
        }
        for (number, a) in rects.iter().enumerate() {
            for b in rects.iter().skip(number + 1) {
                let wide = (a.x + a.width).min(b.x + b.width) - a.x.max(b.x);
                let high = (a.y + a.height).min(b.y + b.height) - a.y.max(b.y);
                assert!(wide <= SLACK || high <= SLACK, "{a:?} and {b:?} overlap");
            }
        }
    }

    #[test]
    fn every_store_has_a_picture() {
        for sizes in [
            [].as_slice(),
            &[0],
            &[1],
            &[u64::MAX],
            &[u64::MAX, u64::MAX, 1, 0],
            &[0, 0, 5],
            &[7, 7, 7, 7, 7, 7, 7],
            &[6, 6, 4, 3, 2, 2, 1], // the example in the paper
            &(1..300).rev().collect::<Vec<_>>(),
        ] {
            check(sizes, AREA);
            check(sizes, Rect { width: 320.0, height: 1000.0, ..AREA });
        }
        check(&[1, 2, 3], Rect::default());
    }

    // Red when a rectangle joins the row even if that makes the shapes worse.
    #[test]
    fn rectangles_are_nearly_squares() {
        let area = Rect { width: 6.0, height: 4.0, ..AREA };
        for rect in squarify(&[6, 6, 4, 3, 2, 2, 1], area) {
            let ratio = (rect.width / rect.height).max(rect.height / rect.width);
            assert!(ratio < 3.0, "{rect:?}");
        }
    }

    #[test]
    fn a_rectangle_is_cut_across_its_longer_side() {
        let wide = Rect { x: 1.0, y: 2.0, width: 10.0, height: 4.0 };
        let (own, shared) = wide.split(0.25);
        assert_eq!((own.width, shared.x, shared.width, shared.height), (2.5, 3.5, 7.5, 4.0));
        let (all, none) = Rect { height: 20.0, ..wide }.split(7.0);
        assert_eq!((all.height, none.height), (20.0, 0.0));
    }

    proptest! {
        #[test]
        fn areas_are_in_proportion_and_nothing_overlaps(
            mut sizes in prop::collection::vec(prop_oneof![Just(0), 1..1000_u64, any::<u64>()], 0..40),
            width in 1.0..2000.0_f64,
            height in 1.0..2000.0_f64,
        ) {
            sizes.sort_unstable_by(|a, b| b.cmp(a));
            check(&sizes, Rect { width, height, ..AREA });
        }
    }
}
