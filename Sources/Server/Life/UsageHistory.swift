import Catalog
import Client
package import Model
import Vault

/// How much the vault has held, and what room there was, at times before now: one look each hour for some days, then one each
/// day.
package struct UsageHistory: Hashable, Sendable {
    package struct Sample: Hashable, Sendable {
        package var time: Timestamp
        /// Bytes in the store.
        package var stored: UInt64
        /// Bytes of room, and of all; 0 where that cannot be known.
        package var available: UInt64
        package var total: UInt64
        package var points: Int

        package init(time: Timestamp, stored: UInt64, available: UInt64, total: UInt64, points: Int) {
            self.time = time
            self.stored = stored
            self.available = available
            self.total = total
            self.points = points
        }
    }

    /// The name of the setting.
    static let setting = "usage-history"
    private static let hour: Int64 = 3_600_000_000_000
    private static let day: Int64 = 24 * hour
    /// Looks of each hour are kept for so long, and those of each day.
    private static let fine = 8 * day
    private static let longest = 400 * day

    /// Oldest first.
    package private(set) var samples: [Sample] = []

    package init() {}

    /// Whether it is time for another look.
    func isDue(_ now: Timestamp) -> Bool {
        guard let last = samples.last else { return true }
        // A clock that was ahead keeps nobody from looking.
        return now.since(last.time) >= Self.hour || now < last.time
    }

    package mutating func add(_ sample: Sample) {
        samples.removeAll { $0.time >= sample.time }
        samples.append(sample)
        var kept: [Sample] = []
        for each in samples {
            let age = sample.time.since(each.time)
            if age > Self.longest { continue }
            if age > Self.fine, let last = kept.last, Self.dayNumber(last.time) == Self.dayNumber(each.time) {
                continue
            }
            kept.append(each)
        }
        samples = kept
    }

    private static func dayNumber(_ time: Timestamp) -> Int64 { time.seconds / 86_400 }

    // MARK: Growth

    /// What is said of how it goes on.
    package enum Outlook: Hashable, Sendable {
        /// Fewer days were seen than it takes.
        case tooEarly
        /// It holds what it held, or less.
        case steady
        /// Bytes a day, and the days until there is no room; `nil` where the room cannot be known.
        case growing(bytesPerDay: UInt64, daysUntilFull: Int?)
    }

    /// Growth is told from so many days on: one large first backup says nothing of what comes.
    static let leastDays = 3.0
    /// Growth of so many last days counts.
    static let window = 30.0

    /// How it goes on if it goes on like in the last days: the line through all looks that is nearest to them (least squares).
    package var outlook: Outlook {
        guard let last = samples.last else { return .tooEarly }
        let recent = samples.filter { Double(last.time.since($0.time)) <= Self.window * Double(Self.day) }
        guard let first = recent.first, Double(last.time.since(first.time)) >= Self.leastDays * Double(Self.day),
            recent.count >= 6
        else { return .tooEarly }
        let days = recent.map { Double($0.time.since(first.time)) / Double(Self.day) }
        let bytes = recent.map { Double($0.stored) }
        let count = Double(recent.count)
        let (meanDay, meanBytes) = (days.reduce(0, +) / count, bytes.reduce(0, +) / count)
        var (above, below) = (0.0, 0.0)
        for (day, byte) in zip(days, bytes) {
            above += (day - meanDay) * (byte - meanBytes)
            below += (day - meanDay) * (day - meanDay)
        }
        let slope = below > 0 ? above / below : 0
        // Less than a hundred thousandth of it a day is nothing.
        guard slope > max(meanBytes / 100_000, 1) else { return .steady }
        let left = last.total > 0 ? Int(min(Double(last.available) / slope, 36_500)) : nil
        return .growing(bytesPerDay: UInt64(slope), daysUntilFull: left)
    }

    /// What it held so long before the last look; `nil` when nobody looked then.
    package func stored(daysAgo: Int) -> UInt64? {
        guard let last = samples.last else { return nil }
        let wanted = last.time.advanced(by: -Int64(daysAgo) * Self.day)
        let nearest = samples.min { abs($0.time.since(wanted)) < abs($1.time.since(wanted)) }
        return nearest.flatMap { abs($0.time.since(wanted)) <= Self.day ? $0.stored : nil }
    }

    // MARK: Coding

    package func encoded() -> [UInt8] {
        JSONValue.object([
            "samples": .array(
                samples.map { sample in
                    .array([
                        .integer(sample.time.seconds), .integer(Int64(clamping: sample.stored)),
                        .integer(Int64(clamping: sample.available)), .integer(Int64(clamping: sample.total)),
                        .integer(Int64(sample.points)),
                    ])
                })
        ]).encoded()
    }

    package static func decode(_ bytes: [UInt8]) throws -> UsageHistory {
        let fields = try JSONFields(parsing: bytes, document: "the history of the vault's size")
        var history = UsageHistory()
        history.samples = try fields.array("samples", atMost: 10_000).map { value in
            guard case .array(let parts) = value, parts.count == 5 else { throw fields.wrong("samples") }
            let numbers = try parts.map { part -> Int64 in
                guard case .integer(let number) = part, number >= 0 else { throw fields.wrong("samples") }
                return number
            }
            return Sample(
                time: Timestamp(seconds: numbers[0]), stored: UInt64(numbers[1]), available: UInt64(numbers[2]),
                total: UInt64(numbers[3]), points: Int(numbers[4]))
        }
        return history
    }
}

extension ServerCore {
    /// The history of the vault's size. What cannot be read begins anew.
    package func usageHistory() -> UsageHistory {
        guard let bytes = try? catalog.setting(UsageHistory.setting) else { return UsageHistory() }
        return (try? UsageHistory.decode(bytes)) ?? UsageHistory()
    }

    /// Looks at the vault's size when an hour has passed.
    func noteUsageIfDue() {
        var history = usageHistory()
        guard history.isDue(clock()), let (holds, space) = try? usage() else { return }
        history.add(
            UsageHistory.Sample(
                time: clock(), stored: holds.data.bytes + holds.meta.bytes + holds.records.bytes,
                available: space?.available ?? 0, total: space?.total ?? 0, points: holds.points))
        // Lost by a crash it is looked at again.
        try? catalog.keep(UsageHistory.setting, history.encoded())
    }
}
