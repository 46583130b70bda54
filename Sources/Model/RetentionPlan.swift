/// What retention needs to know of a point.
package struct RetentionPoint: Hashable, Sendable {
    package var id: PointID
    /// The effective time: bounded by the point before it and by its arrival, so that no machine's clock moves it.
    package var time: Timestamp
    /// Its place in the order in which the vault accepted the machine's points; decides between points of one instant.
    package var ordinal: Int
    package var isPinned: Bool
    /// Made during a first backup that was not finished.
    package var isPartial: Bool
    /// Something it names is known to be damaged or missing.
    package var isDamaged: Bool
    /// A legal hold covers it.
    package var isHeld: Bool
    /// Made before something risky; holds what was about to be replaced, not what is protected.
    package var isCheckpoint: Bool
    /// Points of different protected paths are of different series.
    package var series: UInt64
    /// It arrived later than the vault's clock says that it is now: clock or arrival is wrong.
    package var isAheadOfClock: Bool

    package init(
        id: PointID,
        time: Timestamp,
        ordinal: Int = 0,
        isPinned: Bool = false,
        isPartial: Bool = false,
        isDamaged: Bool = false,
        isHeld: Bool = false,
        isCheckpoint: Bool = false,
        series: UInt64 = 0,
        isAheadOfClock: Bool = false
    ) {
        self.id = id
        self.time = time
        self.ordinal = ordinal
        self.isPinned = isPinned
        self.isPartial = isPartial
        self.isDamaged = isDamaged
        self.isHeld = isHeld
        self.isCheckpoint = isCheckpoint
        self.series = series
        self.isAheadOfClock = isAheadOfClock
    }

    /// Complete, and nothing of it known to be damaged.
    package var isGood: Bool { !isPartial && !isDamaged }

    static func isOlder(_ a: RetentionPoint, _ b: RetentionPoint) -> Bool {
        if a.time != b.time { return a.time < b.time }
        return a.ordinal != b.ordinal ? a.ordinal < b.ordinal : a.id < b.id
    }
}

/// What retention would do to the points of one machine. Deciding only: somebody else removes.
///
/// * A point that arrived later than the clock says it is stays, and no rule counts it: a computer that starts in 1970 and
///   plans before it has asked for the time would see its whole history in one instant.
/// * The rules apply to each series (points of the same protected paths) by itself: a point of `/etc` never stands in for
///   one of `/home`. Checkpoints stand for nothing else: they stay for a span of their own.
/// * A hold, a pin and being the newest complete and undamaged point of a series (unless the machine is retired) always
///   keep a point.
/// * `continuous` and a `last` span keep all complete points within them; a `last` count keeps the newest complete ones.
/// * A period keeps its newest good point. A period with damaged points alone keeps the newest of these, and it does not
///   count: what is left of it may be all there is.
/// * A partial point stays only while no complete point is newer, and only the newest of them.
package struct RetentionPlan: Hashable, Sendable {
    /// One point and what becomes of it.
    package struct Decision: Hashable, Sendable {
        package var point: RetentionPoint
        /// Why it stays, the strongest first; empty when it goes.
        package var reasons: [RetentionReason]
        package var isKept: Bool { !reasons.isEmpty }
    }

    /// Newest first.
    package let decisions: [Decision]

    /// The series that have points, the one with the newest point first; checkpoints are not counted.
    package var series: [UInt64] {
        var found: [UInt64] = []
        for decision in decisions where !decision.point.isCheckpoint && !found.contains(decision.point.series) {
            found.append(decision.point.series)
        }
        return found
    }

    package var kept: [Decision] { decisions.filter(\.isKept) }
    package var removed: [RetentionPoint] { decisions.filter { !$0.isKept }.map(\.point) }

    /// Plans for `points`, all of one machine whose clocks run as `zone` says; any order.
    package init(points: [RetentionPoint], rules: RetentionRules, zone: TimeZoneRules, isRetired: Bool = false) {
        let ordered = points.sorted { RetentionPoint.isOlder($1, $0) }
        var reasons = [[RetentionReason]](repeating: [], count: ordered.count)
        for (index, point) in ordered.enumerated() {
            if point.isHeld { reasons[index].append(.hold) }
            if point.isPinned { reasons[index].append(.pinned) }
            if point.isAheadOfClock { reasons[index].append(.aheadOfClock) }
            if rules.isEmpty { reasons[index].append(.noRules) }
        }
        let checkpoints = ordered.indices.filter { ordered[$0].isCheckpoint }
        if let newest = ordered.first(where: { !$0.isAheadOfClock })?.time, !rules.isEmpty {
            let start = rules.checkpoints.before(newest, in: zone)
            for index in checkpoints where ordered[index].time > start { reasons[index].append(.checkpoint) }
        }
        var series: [UInt64: [Int]] = [:]
        for index in ordered.indices where !ordered[index].isCheckpoint {
            series[ordered[index].series, default: []].append(index)
        }
        for members in series.values {
            let points = members.map { ordered[$0] }
            let found = RetentionPlan.reasons(for: points, rules: rules, zone: zone, isRetired: isRetired)
            for (index, more) in zip(members, found) { reasons[index] += more }
        }
        decisions = zip(ordered, reasons).map { Decision(point: $0, reasons: $1) }
    }

    /// What keeps each of the points of one series, newest first.
    private static func reasons(
        for points: [RetentionPoint], rules: RetentionRules, zone: TimeZoneRules, isRetired: Bool
    ) -> [[RetentionReason]] {
        var reasons = [[RetentionReason]](repeating: [], count: points.count)
        if !isRetired {
            if let newest = points.firstIndex(where: \.isGood) { reasons[newest].append(.newestGood) }
            if let newest = points.first, newest.isPartial { reasons[0].append(.unfinished) }
        }
        let settled = points.indices.filter { !points[$0].isAheadOfClock }
        let planner = Planner(points: settled.map { points[$0] }, zone: zone)
        for (index, found) in zip(settled, planner.reasons(rules)) { reasons[index] += found }
        return reasons
    }
}

/// The rules that walk over the points, newest first.
private struct Planner {
    let points: [RetentionPoint]
    let zone: TimeZoneRules

    /// For each point the rules that keep it.
    func reasons(_ rules: RetentionRules) -> [[RetentionReason]] {
        var reasons = [[RetentionReason]](repeating: [], count: points.count)
        guard let newest = points.first?.time else { return reasons }
        if let continuous = rules.continuous {
            let start = continuous.before(newest, in: zone)
            for index in points.indices where !points[index].isPartial && points[index].time > start {
                reasons[index].append(.continuous)
            }
        }
        if let last = rules.last { keepLast(last, newest, &reasons) }
        for period in RetentionRules.Period.allCases {
            if let reach = rules.periods[period] { keep(period, reach, newest, &reasons) }
        }
        return reasons
    }

    private func keepLast(
        _ reach: RetentionRules.Reach, _ newest: Timestamp, _ reasons: inout [[RetentionReason]]
    ) {
        switch reach {
        case .span(let span):
            let start = span.before(newest, in: zone)
            for index in points.indices where !points[index].isPartial && points[index].time > start {
                reasons[index].append(.last(0))
            }
        case .count(let count):
            var good = 0
            for index in points.indices where !points[index].isPartial && good < count {
                if points[index].isGood { good += 1 }
                reasons[index].append(.last(points[index].isGood ? good : 0))
            }
        }
    }

    private func keep(
        _ period: RetentionRules.Period, _ reach: RetentionRules.Reach, _ newest: Timestamp,
        _ reasons: inout [[RetentionReason]]
    ) {
        let start: Timestamp? =
            if case .span(let span) = reach { span.before(newest, in: zone) } else { nil }
        var left = if case .count(let count) = reach { count } else { Int.max }
        var index = 0
        while index < points.count, left > 0 {
            // One period: from its newest point to the first that lies in another.
            let key = PeriodKey(period, points[index].time, zone)
            var end = index
            while end < points.count, PeriodKey(period, points[end].time, zone) == key { end += 1 }
            let complete = (index..<end).filter { candidate in
                !points[candidate].isPartial && start.map { points[candidate].time > $0 } ?? true
            }
            if let chosen = complete.first(where: { points[$0].isGood }) {
                reasons[chosen].append(.period(period, key.name))
                left -= 1
            } else if let chosen = complete.first {
                reasons[chosen].append(.period(period, key.name))
            }
            index = end
        }
    }
}

/// A period on the clocks of a place. The hour that comes twice when clocks are put back is two hours.
private struct PeriodKey: Hashable {
    let period: RetentionRules.Period
    /// Counts periods of this kind.
    let number: Int
    /// Tells the two hours of one name apart; 0 for longer periods.
    let offset: Int
    private let date: CivilDate
    private let hour: Int

    init(_ period: RetentionRules.Period, _ time: Timestamp, _ zone: TimeZoneRules) {
        let civil = zone.civil(time)
        self.period = period
        switch period {
        case .hourly: date = civil.date
        case .daily: date = civil.date
        case .weekly: date = civil.date.startOfWeek
        case .monthly: date = civil.date.adding(days: 1 - civil.date.day)
        case .yearly: date = civil.date.adding(days: 1 - civil.date.day).adding(months: 1 - civil.date.month)
        }
        hour = period == .hourly ? civil.hour : 0
        number = date.dayNumber * 24 + hour
        offset = period == .hourly ? zone.offset(at: time.seconds) : 0
    }

    var name: String {
        switch period {
        case .hourly: return "\(date) \(Decimal.padded(hour, 2)):00"
        case .daily: return "\(date)"
        case .weekly:
            let week = date.isoWeek
            return "\(Decimal.padded(week.year, 4))-W\(Decimal.padded(week.week, 2))"
        case .monthly: return String("\(date)".prefix(7))
        case .yearly: return String("\(date)".prefix(4))
        }
    }
}
