import Model

/// Times as they stand in the vault's JSON files: RFC 3339 in UTC, whole seconds.
enum RFC3339 {
    /// For example `2026-11-20T10:15:00Z`; parts of a second are left out.
    static func encode(_ time: Timestamp) -> String { TimeText.rfc3339(Timestamp(seconds: time.seconds)) }

    /// Parses exactly the form that `encode` writes; `nil` for any other, and for dates that do not exist.
    static func decode(_ text: String) -> Timestamp? {
        let bytes = Array(text.utf8)
        guard bytes.count == 20,
            let date = CivilDate(year: number(bytes[0..<4]), month: number(bytes[5..<7]), day: number(bytes[8..<10])),
            let civil = CivilTime(
                date: date,
                hour: number(bytes[11..<13]),
                minute: number(bytes[14..<16]),
                second: number(bytes[17..<19])
            )
        else { return nil }
        let time = Timestamp(seconds: civil.secondsOnClock)
        // Comparing with what would be written checks every mark, digit and bound at once.
        return encode(time) == text ? time : nil
    }

    /// The value of decimal digits; anything else gives some number that will not be written the same way.
    private static func number(_ digits: ArraySlice<UInt8>) -> Int {
        digits.reduce(0) { $0 * 10 + Int($1 & 15) }
    }
}
