import Synchronization

/// Bounds how much of something goes on at once: in all, and for one holder.
package final class Turnstile: Sendable {
    /// One of them, until it is let go of.
    package final class Place: Sendable {
        private let turnstile: Turnstile
        private let holder: String

        fileprivate init(_ turnstile: Turnstile, _ holder: String) {
            self.turnstile = turnstile
            self.holder = holder
        }

        deinit { turnstile.leave(holder) }
    }

    private let open = Mutex<[String: Int]>([:])
    let maximum: Int
    let maximumOfHolder: Int

    package init(maximum: Int, ofHolder: Int) {
        self.maximum = maximum
        maximumOfHolder = ofHolder
    }

    package var count: Int { open.withLock { $0.values.reduce(0, +) } }

    /// A place; `nil` when there is none left.
    package func enter(_ holder: String) -> Place? {
        let isIn = open.withLock { open in
            guard open.values.reduce(0, +) < maximum, open[holder, default: 0] < maximumOfHolder else { return false }
            open[holder, default: 0] += 1
            return true
        }
        return isIn ? Place(self, holder) : nil
    }

    private func leave(_ holder: String) {
        open.withLock { open in
            let rest = open[holder, default: 1] - 1
            open[holder] = rest > 0 ? rest : nil
        }
    }
}
