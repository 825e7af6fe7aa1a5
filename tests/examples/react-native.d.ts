/** The part of React Native that the examples use, as in its own types. */
declare module 'react-native' {
  export const NativeModules: { [name: string]: any };
  export class NativeEventEmitter {
    constructor(nativeModule?: unknown);
    addListener(eventType: string, listener: (event: any) => void, context?: object): { remove(): void };
  }
  export const Platform: { OS: 'ios' | 'android' | 'macos' | 'windows' | 'web' };
  export const AppState: {
    addEventListener(type: 'change', listener: (state: string) => void): { remove(): void };
  };
}
