package import Model

/// The times by which retention counts, which no machine's clock can bend.
package enum EffectiveTime {
    /// How far a clock may go back and still be believed, in nanoseconds: a day.
    package static let tolerance: Int64 = 86_400_000_000_000

    /// Effective times of a machine's points, given in the order in which the vault accepted them.
    ///
    /// A point's own time counts, but not before the effective time of the point before it, and not after its arrival by
    /// the vault's clock: a machine whose clock is set forward cannot push its good points out of retention. Where the two
    /// bounds contradict each other the vault's clock went back, and order wins over the clock: effective times never
    /// decrease. An arrival after `now` can only be a fault of the vault's clock; such a point raises no bound for those
    /// after it and takes the effective time of the next sound one, or `now`.
    ///
    /// A time that lies more than `tolerance` before the point before it is that of a dead clock, and says nothing: the point
    /// counts by its arrival. Else all that such a machine stores would share the instant of its last sound point, and
    /// retention would keep one of them.
    ///
    /// - Parameters:
    ///   - points: Time by the machine's clock and arrival by the vault's, in order of acceptance. All of one series:
    ///     what waited on a machine arrives after what did not wait, and must not be taken for as new as that.
    ///   - now: The vault's clock.
    /// - Returns: As many times, in the same order, never decreasing and none after `now`.
    package static func of(_ points: [(time: Timestamp, arrival: Timestamp)], now: Timestamp) -> [Timestamp] {
        var result: [Timestamp] = []
        result.reserveCapacity(points.count)
        var floor = Timestamp(nanoseconds: .min)
        for point in points {
            if point.arrival > now {
                result.append(now)
            } else {
                floor = bound(after: floor, time: point.time, arrival: point.arrival)
                result.append(floor)
            }
        }
        var next = now
        for index in result.indices.reversed() {
            result[index] = min(result[index], next)
            next = result[index]
        }
        return result
    }

    /// What the effective time of a point follows from.
    package struct Place: Sendable {
        /// By the machine's clock.
        package var time: Timestamp
        /// By the vault's clock.
        package var arrival: Timestamp
        package var series: UInt64
        /// It is not in its machine's history.
        package var isOutside: Bool

        package init(time: Timestamp, arrival: Timestamp, series: UInt64, isOutside: Bool) {
            self.time = time
            self.arrival = arrival
            self.series = series
            self.isOutside = isOutside
        }
    }

    /// Effective times of all points of a machine, given in the order in which the vault accepted them.
    package static func of(machine points: [Place], now: Timestamp) -> [Timestamp] {
        var result = points.map(\.arrival)
        // What is outside the chain bends nobody's times; it takes that of the point before it.
        let chain = points.indices.filter { !points[$0].isOutside }
        // Each series by itself, as retention counts: versions that waited on a machine arrive after its scheduled backup.
        for members in Dictionary(grouping: chain, by: { points[$0].series }).values {
            let times = of(members.map { (time: points[$0].time, arrival: points[$0].arrival) }, now: now)
            for (index, time) in zip(members, times) { result[index] = time }
        }
        let first = chain.first.map { result[$0] } ?? now
        for index in points.indices where points[index].isOutside {
            result[index] = index > 0 ? result[index - 1] : min(points[index].time, points[index].arrival, first)
        }
        return result
    }

    /// The bound that a point raises for those after it in its series, `floor` being the one before it.
    ///
    /// It never falls when a point before it is taken into account that was not, or a higher bound is put in: one that was worked
    /// out when a point came, with every point before it, holds for good, whichever of them are deleted later and whatever the
    /// vault's clock says then.
    package static func bound(after floor: Timestamp, time: Timestamp, arrival: Timestamp) -> Timestamp {
        let isDead = floor.since(time) > tolerance
        return max(floor, isDead ? arrival : min(time, arrival))
    }

    /// Whether a point's effective time, and those of the points after it in its series, are the same whatever was before it,
    /// given a bound of what was.
    package static func begins(time: Timestamp, arrival: Timestamp, after bound: Timestamp, now: Timestamp) -> Bool {
        arrival <= now && bound <= min(time, arrival)
    }
}
