/* Android's main thread as the examples use it: see android.kt. */
@file:Suppress("UNUSED_PARAMETER", "unused")

package android.os

class Looper {
    companion object {
        @JvmStatic
        fun getMainLooper() = Looper()
    }
}

class Handler(looper: Looper) {
    fun post(action: Runnable): Boolean {
        action.run()
        return true
    }
}
