/// Which point somebody means: `latest`, the beginning of an id, or `@TIME`.
package enum PointSelector: Hashable, Sendable {
    /// The newest point.
    case latest
    /// The one point whose id begins with these lower-case hexadecimal digits (1 to 32).
    case prefix(String)
    /// The newest point that is not later than the end of the time that was written.
    case time(WrittenTime)

    /// Reads what a person wrote; relative times count from `now` by the clocks of `zone`.
    ///
    /// Throws `usage` with the forms that are understood.
    package static func parse(_ text: String, now: Timestamp, zone: TimeZoneRules) throws(HoldfastError) -> Self {
        let trimmed = String(Units.trim(text))
        if trimmed.lowercased() == "latest" { return .latest }
        if trimmed.hasPrefix("@") {
            guard let time = WrittenTime(String(trimmed.dropFirst()), now: now, zone: zone) else {
                throw HoldfastError(
                    .usage,
                    "\"\(trimmed)\" is not a time that is understood. Write @\"2026-11-20 10:15\", @\"10 minutes ago\", "
                        + "@yesterday, @monday, @18:30 or RFC 3339.")
            }
            return .time(time)
        }
        let digits = trimmed.lowercased()
        guard !digits.isEmpty, digits.utf8.count <= 32,
            digits.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
        else {
            throw HoldfastError(
                .usage,
                "\"\(trimmed)\" does not name a point. Write \"latest\", the beginning of an id as `holdfast points` shows "
                    + "it, or a time such as @yesterday.")
        }
        return .prefix(digits)
    }

    /// What selecting needs to know of a point.
    package struct Candidate: Hashable, Sendable {
        package var id: PointID
        /// The effective time.
        package var time: Timestamp
        /// Made during a first backup that was not finished.
        package var isPartial: Bool

        package init(id: PointID, time: Timestamp, isPartial: Bool) {
            self.id = id
            self.time = time
            self.isPartial = isPartial
        }
    }

    /// The point meant among `candidates`, which are one machine's in the order of their effective times, oldest first.
    ///
    /// `latest` and times mean complete points as long as there is one. Throws `notFound` or `usage` (more than one fits).
    package func select(from candidates: [Candidate]) throws(HoldfastError) -> Candidate {
        switch self {
        case .latest:
            guard let newest = candidates.last(where: { !$0.isPartial }) ?? candidates.last else {
                throw HoldfastError(.notFound, "There is no point yet. Make one with `holdfast backup PATH`.")
            }
            return newest
        case .prefix(let prefix):
            let matching = candidates.filter { $0.id.hex.hasPrefix(prefix) }
            guard let first = matching.first else {
                throw HoldfastError(
                    .notFound, "No point's id begins with \"\(prefix)\". `holdfast points` lists the points.")
            }
            guard matching.count == 1 else {
                let examples = matching.prefix(3).map { String($0.id.hex.prefix(prefix.utf8.count + 4)) }
                throw HoldfastError(
                    .usage,
                    "\(matching.count) points begin with \"\(prefix)\" (\(examples.joined(separator: ", "))...). "
                        + "Write more digits.")
            }
            return first
        case .time(let time):
            let before = candidates.filter { $0.time <= time.end }
            guard let newest = before.last(where: { !$0.isPartial }) ?? before.last else {
                var message = "There is no point that old."
                if let oldest = candidates.first {
                    message += " The oldest is \(oldest.id.hex.prefix(8)) of \(TimeText.rfc3339(oldest.time))."
                }
                throw HoldfastError(.notFound, message)
            }
            return newest
        }
    }
}
