/// Random numbers that come again with the same seed (SplitMix64), and damaged copies of valid encodings for fuzz loops.
package struct FuzzGenerator: RandomNumberGenerator {
    private var numbers: SeededGenerator

    package init(seed: UInt64) { numbers = SeededGenerator(seed: seed) }

    package mutating func next() -> UInt64 { numbers.next() }

    /// `count` random bytes.
    package mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
    }

    /// A damaged copy of `bytes`: bits flipped, bytes replaced by telling values, pieces cut, doubled or inserted.
    package mutating func mutation(of bytes: [UInt8]) -> [UInt8] {
        var result = bytes
        for _ in 0..<Int.random(in: 1...4, using: &self) {
            let place = result.isEmpty ? 0 : Int.random(in: 0..<result.count, using: &self)
            switch Int.random(in: 0..<7, using: &self) {
            case 0 where !result.isEmpty: result[place] ^= 1 << UInt8.random(in: 0..<8, using: &self)
            case 1 where !result.isEmpty: result[place] = [0, 1, 0x7F, 0x80, 0xFF].randomElement(using: &self) ?? 0
            case 2 where !result.isEmpty: result.removeLast(result.count - place)
            case 3 where !result.isEmpty:
                let end = min(result.count, place + Int.random(in: 1...16, using: &self))
                result.removeSubrange(place..<end)
            case 4 where !result.isEmpty:
                let end = min(result.count, place + Int.random(in: 1...16, using: &self))
                result.insert(contentsOf: result[place..<end], at: place)
            case 5 where result.count - place >= 4:
                for index in 0..<4 { result[place + index] = 0xFF }
            default: result.insert(contentsOf: self.bytes(Int.random(in: 1...8, using: &self)), at: place)
            }
        }
        return result
    }
}
