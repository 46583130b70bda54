package import Model

/// Checks that need no key over the chain that a machine's locators form.
package enum PointChain {
    /// What is known of a link of the chain.
    package struct Link: Hashable, Sendable {
        package let incarnation: IncarnationID
        package let number: UInt64
        package let point: PointID
        package let hash: LocatorHash
        package let previous: LocatorHash

        package init(
            incarnation: IncarnationID,
            number: UInt64,
            point: PointID,
            hash: LocatorHash,
            previous: LocatorHash
        ) {
            self.incarnation = incarnation
            self.number = number
            self.point = point
            self.hash = hash
            self.previous = previous
        }

        package init(_ locator: PointLocator) {
            self.init(
                incarnation: locator.incarnation,
                number: locator.number,
                point: locator.point,
                hash: locator.hash,
                previous: locator.previous
            )
        }
    }

    /// One thing that was found.
    package enum Finding: Hashable, Sendable, CustomStringConvertible {
        /// These numbers have no point: retention or a person deleted them, or they were lost. Not a fault by itself.
        case absent(IncarnationID, ClosedRange<UInt64>)
        /// Two different points have the same number: one of them was forged, or a machine was cloned and nobody noticed.
        case conflict(IncarnationID, UInt64, PointID, PointID)
        /// The point names another point before it than the one that is there: one of the two was changed.
        case brokenLink(IncarnationID, UInt64, PointID)
        /// The first point of an incarnation names one before it, or a later one names none.
        case wrongStart(IncarnationID, UInt64, PointID)
        /// The machine remembers newer points than the vault has: from the first missing number to the last.
        case missingTail(IncarnationID, ClosedRange<UInt64>)
        /// The vault has a different point under the number of the machine's newest.
        case differentHead(IncarnationID, UInt64, PointID)

        /// Whether somebody or something changed what must not change; `absent` alone is what retention leaves.
        package var isFault: Bool {
            if case .absent = self { false } else { true }
        }

        package var description: String {
            switch self {
            case .absent(let incarnation, let range):
                "points \(range.lowerBound) to \(range.upperBound) of incarnation \(incarnation) are not there (deleted or lost)"
            case .conflict(let incarnation, let number, let a, let b):
                "two points, \(a) and \(b), have number \(number) of incarnation \(incarnation)"
            case .brokenLink(let incarnation, let number, let point):
                "point \(point) (number \(number) of incarnation \(incarnation)) does not follow the point before it"
            case .wrongStart(let incarnation, let number, let point):
                "point \(point) (number \(number) of incarnation \(incarnation)) "
                    + (number == 1 ? "is the first and names one before it" : "names no point before it")
            case .missingTail(let incarnation, let range):
                "points \(range.lowerBound) to \(range.upperBound) of incarnation \(incarnation), which the machine "
                    + "remembers, are missing"
            case .differentHead(let incarnation, let number, let point):
                "point \(point) is not the one that the machine remembers as number \(number) of incarnation \(incarnation)"
            }
        }
    }

    /// Checks the chain of one machine: within each incarnation numbers are dense but for deletions, and each point names the
    /// one before it. Against the head that the machine remembers, a missing tail shows.
    ///
    /// - Parameter links: All of one machine, in any order; the same point given twice counts once.
    package static func check(_ links: [Link], head: MachineHead? = nil) -> [Finding] {
        var findings: [Finding] = []
        let byIncarnation = Dictionary(grouping: links, by: \.incarnation)
        for (incarnation, members) in byIncarnation.sorted(by: { $0.key < $1.key }) {
            let sorted = members.sorted { ($0.number, $0.hash) < ($1.number, $1.hash) }
            var before: Link?
            // All hashes that stand under the number of `before` and under the one before that.
            var hashes: Set<LocatorHash> = []
            var hashesBefore: Set<LocatorHash> = []
            for link in sorted {
                if let before, before.number == link.number {
                    if hashes.insert(link.hash).inserted {
                        findings.append(.conflict(incarnation, link.number, before.point, link.point))
                        if before.number > 1, !hashesBefore.isEmpty, !hashesBefore.contains(link.previous) {
                            findings.append(.brokenLink(incarnation, link.number, link.point))
                        }
                    }
                    continue
                }
                let lastNumber = before?.number ?? 0
                if link.number > lastNumber + 1 {
                    findings.append(.absent(incarnation, (lastNumber + 1)...(link.number - 1)))
                }
                if (link.number == 1) != (link.previous == .none) {
                    findings.append(.wrongStart(incarnation, link.number, link.point))
                } else if let before, before.number == link.number - 1, !hashes.contains(link.previous) {
                    findings.append(.brokenLink(incarnation, link.number, link.point))
                }
                hashesBefore = before?.number == link.number - 1 ? hashes : []
                hashes = [link.hash]
                before = link
            }
            if let head, head.incarnation == incarnation, let last = before {
                if last.number < head.number {
                    findings.append(.missingTail(incarnation, (last.number + 1)...head.number))
                } else if let link = sorted.first(where: { $0.number == head.number }),
                    !sorted.contains(where: { $0.number == head.number && $0.hash == head.hash })
                {
                    findings.append(.differentHead(incarnation, head.number, link.point))
                }
            }
        }
        if let head, byIncarnation[head.incarnation] == nil {
            findings.append(.missingTail(head.incarnation, 1...head.number))
        }
        return findings
    }

    /// Whether a new point continues the machine's chain: the next number after `head` naming it, or number 1 of an
    /// incarnation that is new. Throws `forbidden` with what was expected.
    ///
    /// - Parameter isNewIncarnation: Whether the vault has never seen a point of the locator's incarnation.
    package static func checkAppend(_ locator: PointLocator, head: MachineHead?, isNewIncarnation: Bool) throws {
        if let head, locator.incarnation == head.incarnation {
            guard locator.number == head.number + 1, locator.previous == head.hash else {
                throw HoldfastError(
                    .forbidden,
                    "The point does not follow the machine's newest point in the vault (number \(head.number)): this machine "
                        + "was reverted or cloned, or another process wrote in between. Back up again.",
                    context: ["machine": locator.machine.hex, "number": String(locator.number)]
                )
            }
            return
        }
        guard isNewIncarnation, locator.number == 1, locator.previous == .none else {
            throw HoldfastError(
                .forbidden,
                "The point belongs to an earlier history of this machine, or to one that does not begin with its first point. "
                    + "Back up again; a new history begins then.",
                context: ["machine": locator.machine.hex, "number": String(locator.number)]
            )
        }
    }
}
