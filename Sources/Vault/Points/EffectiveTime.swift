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
                let isDead = floor.since(point.time) > tolerance
                floor = max(floor, isDead ? point.arrival : min(point.time, point.arrival))
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
}
