/* Android's clock that counts sleep, as the client finds it on a phone. */
package android.os

import java.util.concurrent.atomic.AtomicLong

object SystemClock {
    /** Time that passed in the scenario. */
    val advanced = AtomicLong()

    @JvmStatic
    fun elapsedRealtime(): Long = System.nanoTime() / 1_000_000 + advanced.get()
}
