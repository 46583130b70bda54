import Testing

@testable import Client

@Suite("The rate of uploads on a link that others use too")
struct PacingTests {
    /// A link with a queue before its slowest part, to which as much is sent as the rule lets go.
    private struct Link {
        /// Bytes a second, and microseconds there and back.
        var capacity: Double
        var shortest: Double
        /// Bytes that the queue holds.
        var room = 64_000.0
        /// Microseconds that packets take longer whatever is sent.
        var standing = 0.0
        var rule = PacingRule()
        private var queue = 0.0
        private var smoothed = 0.0
        private var delivered = 0.0
        private var milliseconds = 0

        init(capacity: Double, shortest: Double) {
            self.capacity = capacity
            self.shortest = shortest
            smoothed = shortest
        }

        /// Goes on for some seconds. Answers how long packets waited (milliseconds, sorted) and what part of the link was used.
        mutating func run(seconds: Int) -> (waits: [Double], used: Double) {
            var waits: [Double] = []
            var carried = 0.0
            for _ in 0..<(seconds * 1_000) {
                milliseconds += 1
                // Without a limit as fast as TCP does: what the link carries, and the queue full.
                let sent = rule.rate.map { Double($0) / 1_000 } ?? (capacity / 1_000 + room / 400)
                queue = min(queue + sent, room + capacity / 1_000)
                let out = min(queue, capacity / 1_000)
                queue -= out
                carried += out
                delivered += (out * 1_000 - delivered) / 50
                let wait = queue / capacity
                waits.append(wait * 1_000)
                smoothed += (shortest + standing + (wait + 1_448 / capacity) * 1_000_000 - smoothed) / 60
                if milliseconds % 100 == 0 {
                    rule.take(
                        PacingRule.Sample(
                            roundTrip: Int64(smoothed), shortest: Int64(shortest), delivered: Int64(delivered)),
                        now: Int64(milliseconds) * 1_000_000)
                }
            }
            return (waits.sorted(), carried / capacity / Double(seconds))
        }
    }

    @Test("hardly anything waits, and most of the link is used", arguments: [125_000.0, 600_000, 2_500_000])
    func queue(capacity: Double) {
        var link = Link(capacity: capacity, shortest: 20_000)
        _ = link.run(seconds: 5)
        let then = link.run(seconds: 60)
        #expect(then.waits[then.waits.count * 95 / 100] < 20, "\(capacity)")
        #expect(then.used > 0.75, "\(capacity)")
    }

    @Test("a link that gets faster is used soon, one that gets slower is left soon")
    func change() {
        var link = Link(capacity: 125_000, shortest: 20_000)
        _ = link.run(seconds: 40)
        link.capacity = 1_250_000
        _ = link.run(seconds: 60)
        #expect(link.run(seconds: 20).used > 0.7)
        link.capacity = 125_000
        _ = link.run(seconds: 10)
        let then = link.run(seconds: 30)
        #expect(then.waits[then.waits.count * 95 / 100] < 25)
    }

    @Test("where packets wait for something else, uploads go on with half of what the link carries at least")
    func others() {
        for standing in [15_000.0, 40_000, 300_000] {
            var link = Link(capacity: 1_250_000, shortest: 20_000)
            _ = link.run(seconds: 30)
            link.standing = standing
            _ = link.run(seconds: 10)
            #expect(link.run(seconds: 60).used > 0.45, "\(standing)")
            link.standing = 0
            _ = link.run(seconds: 20)
            let then = link.run(seconds: 60)
            #expect(then.waits[then.waits.count * 95 / 100] < 30 && then.used > 0.75, "\(standing)")
        }
    }

    @Test("a network without a queue is never held back, and nothing is ever sent slower than the slowest")
    func bounds() {
        var rule = PacingRule()
        for tick in 0..<600 {
            rule.take(
                PacingRule.Sample(roundTrip: 600, shortest: 200, delivered: 110_000_000),
                now: Int64(tick) * 100_000_000)
        }
        #expect(rule.rate == nil)
        for tick in 600..<3_000 {
            rule.take(
                PacingRule.Sample(roundTrip: 900_000, shortest: 20_000, delivered: 1_000),
                now: Int64(tick) * 100_000_000)
        }
        #expect(rule.rate == PacingRule.slowest)
        // What is sent in small parts says nothing of the link.
        var small = PacingRule()
        for tick in 0..<600 {
            small.take(
                PacingRule.Sample(roundTrip: 90_000, shortest: 20_000, delivered: 9_000, isHeldBack: false),
                now: Int64(tick) * 100_000_000)
        }
        #expect(small.rate == nil)
        // Measurements of nothing change nothing.
        rule.take(PacingRule.Sample(roundTrip: 0, shortest: 0, delivered: 0), now: .max / 2)
        #expect(rule.rate == PacingRule.slowest)
    }
}
