/// Finds out how fast may be sent so that hardly anything waits in the queue before the slowest part of a link: others on the
/// link then notice little of it. Pure: times and measurements come from outside.
///
/// What waits there shows as time: a packet's way there and back takes longer than it did when the link was free. While that is
/// so the rate goes down, else slowly up. Boxes of providers hold half a second and more, which TCP on its own fills.
struct PacingRule: Sendable {
    /// What the kernel says of a connection that sends.
    struct Sample: Sendable {
        /// Way there and back now (smoothed), and at its shortest, in microseconds.
        var roundTrip: Int64
        var shortest: Int64
        /// Bytes a second that arrived lately.
        var delivered: Int64
        /// Bytes of a full packet.
        var segment: Int64
        /// More is there to be sent than the rate lets go.
        var isHeldBack: Bool

        init(roundTrip: Int64, shortest: Int64, delivered: Int64, segment: Int64 = 1_448, isHeldBack: Bool = true) {
            self.roundTrip = roundTrip
            self.shortest = shortest
            self.delivered = delivered
            self.segment = segment
            self.isHeldBack = isHeldBack
        }
    }

    /// Bytes a second; `nil` is no limit.
    private(set) var rate: Int64?
    /// What arrived when the queue filled last.
    private var ceiling: Int64?
    private var ceilingTime = Int64.min
    private var lastDecrease = Int64.min
    /// Measurements since the last decrease at which nothing waited although about as much is sent as the link carried.
    private var calm = 0
    /// Since when no more than half of that is sent.
    private var halved = Int64.max
    /// Microseconds that packets wait whatever is done here: radio, and what others send.
    private var standing: Int64 = 0

    /// What may wait in the queue, in microseconds, before the rate goes down, and below which it goes up.
    static let high: Int64 = 8_000
    static let low: Int64 = 4_000
    /// A link is used with so much at least, in bytes a second, whatever is on it: where packets are lost, the times say little.
    static let slowest: Int64 = 64_000
    /// From here on no limit is needed: such a queue is gone in no time.
    static let fastest: Int64 = 60_000_000
    /// How long a queue takes to drain at half the rate, in nanoseconds.
    private static let relief: Int64 = 3_000_000_000
    /// How long it is believed that a link carries no more than it did, in nanoseconds.
    private static let memory: Int64 = 30_000_000_000

    /// Takes a measurement, which is made every 100 ms or so while something is sent.
    ///
    /// - Parameter now: nanoseconds of a clock that only goes forward.
    mutating func take(_ sample: Sample, now: Int64) {
        // Where all that is there is on its way, nothing was found out about the link.
        guard sample.roundTrip > 0, sample.shortest > 0, sample.isHeldBack else { return }
        // The own packets take their time on the link too, and the receiver may wait for a second one before it answers.
        let carried = max(sample.delivered, ceiling ?? 0, PacingRule.slowest)
        let queue = sample.roundTrip - sample.shortest - sample.segment * 1_500_000 / carried
        // Less arrives than is sent: what waits is ours after all.
        if standing > 0, let rate, sample.delivered < rate / 4 * 3 { standing = 0 }
        if queue < standing { standing -= (standing - max(queue, 0)) / 8 + 1 }
        if queue - standing > PacingRule.high {
            decrease(sample, queue, now)
        } else if queue - standing < PacingRule.low, let rate {
            increase(rate, now)
        }
    }

    private mutating func decrease(_ sample: Sample, _ queue: Int64, _ now: Int64) {
        // What was changed shows one round trip later, and in a smoothed time some more.
        let wait = max(3 * sample.roundTrip * 1_000, 250_000_000)
        guard lastDecrease == .min || now - lastDecrease >= wait else { return }
        let old = rate ?? .max
        let arrivesAll = sample.delivered >= old / 5 * 4
        if arrivesAll, let ceiling, old <= ceiling / 2 {
            // All arrives, at half of what the link carried, and still packets wait: not for ours.
            if now > halved, now - halved >= PacingRule.relief { standing = queue - PacingRule.low / 2 }
            return
        }
        lastDecrease = now
        calm = 0
        let base = min(old, max(sample.delivered, PacingRule.slowest))
        let isKnown = ceiling.map { old < $0 && now - ceilingTime < PacingRule.memory } ?? false
        if !isKnown || !arrivesAll {
            ceiling = base
            ceilingTime = now
        }
        // A long queue has to drain.
        let percent = max(50, 88 - (queue - standing - PacingRule.high) / 2_000)
        let half = max((ceiling ?? base) / 2, PacingRule.slowest)
        let next = max(base * percent / 100, half)
        halved = next > half ? .max : now
        rate = next
    }

    private mutating func increase(_ old: Int64, _ now: Int64) {
        let isKnown = ceiling != nil && now - ceilingTime < PacingRule.memory
        let step: Int64
        if isKnown, let ceiling {
            // Carefully where it was too much before, and less so the longer it is not too much now.
            calm = old < ceiling * 85 / 100 ? 0 : calm + 1
            step = calm == 0 || calm > 40 ? 60 : calm > 20 ? 20 : 5
        } else {
            step = 100
        }
        let next = old + max(old * step / 1_000, 100)
        rate = next >= PacingRule.fastest ? nil : next
    }
}
